"""What runs say to the others of their project, and what those learn from them.

A run leaves one row in `offer`, from its first mark on: its traits, and the losses that may speak. A run that goes on
keeps one row a loss in `run_prior`: what was learned, and from whom. Whatever changes the finished runs of a project
counts up `project.siblings_revision`, and those that go on compare again; what these say does not: each would disturb
each. A deleted run just takes its row with it, and so does one that fails or is stopped; a prior that listened to it is
seen to be `outdated` because one of its siblings is missing. So a refit reads a few rows by their keys and no more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from sqlalchemy import Connection, Row, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import BigInteger, Text

from app.forecasting.siblings import Candidate, Traits
from app.laws.prior import Prior, prior_from_dict, prior_to_dict
from app.runs import SiblingRun
from app.storage.json import as_json

MOST_CANDIDATES = 2000
"""Of a project's runs the newest so many are compared; it takes about 20 ms."""


@dataclass(frozen=True, slots=True)
class OfferedLoss:
    """A loss that may speak: its role, and its levels as far as it has come (`app.forecasting.siblings.levels_of`)."""

    role: str
    levels: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Offer:
    """What a run has to say, and what that was concluded from.

    rules : version of the rules by which runs are judged and compared
    arrivals : batches of the run that had been taken in
    losses : by metric; empty where nothing may speak, so that nobody asks again
    made : share of its steps at the mark that it passed last; 1 of a run that has finished
    """

    rules: int
    arrivals: int
    traits: Traits
    losses: Mapping[str, OfferedLoss]
    made: float = 1.0

    @property
    def is_final(self) -> bool:
        """Whether it is a finished run's."""
        return self.made == 1


@dataclass(frozen=True, slots=True)
class Heard:
    """A run that a prior was learned from, as it was then."""

    run: SiblingRun
    key: int
    revision: int


@dataclass(frozen=True, slots=True, eq=False)
class StoredPrior:
    """What one loss of a run is forecast by.

    prior : None where no other run speaks: the population's, then
    siblings_revision, inputs, cutoff : of the project, of everything else it depends on, and of the run, when the
        others were last compared
    """

    prior: Prior | None
    heard: tuple[Heard, ...]
    siblings_revision: int
    inputs: str
    cutoff: int

    def silenced(self) -> StoredPrior:
        """The population's, until the others are compared again."""
        return replace(self, prior=None, heard=())

    @property
    def siblings(self) -> tuple[SiblingRun, ...]:
        return tuple(each.run for each in self.heard)


@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    """Where a run stands among the runs of its project.

    offer : its own, as its last refit left it
    priors : by metric
    outdated : those of them of whose siblings one is silent since: deleted, failed or stopped
    """

    project_id: int
    siblings_revision: int
    offer: Offer | None
    priors: Mapping[str, StoredPrior]
    outdated: frozenset[str]


def read_standing(connection: Connection, run_key: int) -> Standing:
    """One query, by keys only: what every refit reads."""
    rows = connection.execute(
        text("""
            SELECT run.project_id, project.siblings_revision AS now_revision,
                own.rules, own.arrivals, own.traits, own.losses, own.made,
                p.metric, p.prior, p.siblings, p.siblings_revision, p.inputs, p.cutoff,
                cardinality(p.sibling_keys) >
                    (SELECT count(*) FROM offer WHERE offer.run_key = ANY(p.sibling_keys)) AS outdated
            FROM run JOIN project ON project.id = run.project_id
            LEFT JOIN offer own ON own.run_key = run.key
            LEFT JOIN run_prior p ON p.run_key = run.key
            WHERE run.key = :key
        """),
        {"key": run_key},
    ).all()
    first = rows[0]
    known = [row for row in rows if row.metric is not None]
    return Standing(
        project_id=first.project_id,
        siblings_revision=first.now_revision,
        offer=None if first.rules is None else _offer(first),
        priors={
            row.metric: StoredPrior(
                prior=_prior(row.prior),
                heard=tuple(_heard(each) for each in row.siblings),
                siblings_revision=row.siblings_revision,
                inputs=row.inputs,
                cutoff=row.cutoff,
            )
            for row in known
        },
        outdated=frozenset(row.metric for row in known if row.outdated),
    )


def read_priors(connection: Connection, run_id: str) -> Mapping[str, StoredPrior]:
    """What the last refit forecast a run's losses by, by metric."""
    key = connection.execute(text("SELECT key FROM run WHERE id = :run_id"), {"run_id": run_id}).scalar_one_or_none()
    return {} if key is None else read_standing(connection, key).priors


def read_candidates(
    connection: Connection, project_id: int, run_key: int, metric: str, role: str, rules: int
) -> list[Candidate]:
    """The runs of a project that have something to say of a loss: of the same metric, else of one of its role.

    A run that has failed or was stopped says nothing from then on, even before the refit that withdraws its offer.
    """
    rows = connection.execute(
        text("""
            SELECT offer.run_key, offer.revision, offer.traits, offer.losses, run.id FROM offer
            JOIN run ON run.key = offer.run_key
            WHERE offer.project_id = :project_id AND offer.run_key <> :key AND offer.rules = :rules
                AND offer.losses <> '{}' AND run.status = CASE WHEN offer.made = 1 THEN 'finished' ELSE 'running' END
            ORDER BY offer.revision DESC LIMIT :limit
        """),
        {"project_id": project_id, "key": run_key, "rules": rules, "limit": MOST_CANDIDATES},
    )
    found = []
    for row in rows:
        same_role = [name for name, loss in row.losses.items() if loss["role"] == role]
        name = metric if metric in row.losses else next(iter(same_role), None)
        if name is not None:
            levels = tuple(row.losses[name]["levels"])
            found.append(Candidate(row.run_key, row.id, name, Traits(**row.traits), levels, row.revision))
    return found


def save_prior(connection: Connection, run_key: int, metric: str, stored: StoredPrior, *, learned: bool) -> None:
    """Keep a prior for a loss; `learned_at` moves only where it was `learned`, not where it was found to be current."""
    heard = [
        {**said, "key": each.key, "revision": each.revision}
        for each, said in zip(stored.heard, siblings_to_json(stored.siblings), strict=True)
    ]
    connection.execute(
        text("""
            INSERT INTO run_prior
                (run_key, metric, prior, siblings, sibling_keys, siblings_revision, inputs, cutoff)
            VALUES (:key, :metric, CAST(:prior AS jsonb), CAST(:siblings AS jsonb), :sibling_keys, :revision, :inputs,
                :cutoff)
            ON CONFLICT (run_key, metric) DO UPDATE SET prior = excluded.prior, siblings = excluded.siblings,
                sibling_keys = excluded.sibling_keys, siblings_revision = excluded.siblings_revision,
                inputs = excluded.inputs, cutoff = excluded.cutoff,
                learned_at = CASE WHEN :learned THEN now() ELSE run_prior.learned_at END
        """).bindparams(bindparam("sibling_keys", type_=ARRAY(BigInteger))),
        {
            "key": run_key,
            "metric": metric,
            "prior": None if stored.prior is None else as_json(prior_to_dict(stored.prior)),
            "siblings": as_json(heard),
            "sibling_keys": [each.key for each in stored.heard],
            "revision": stored.siblings_revision,
            "inputs": stored.inputs,
            "cutoff": stored.cutoff,
            "learned": learned,
        },
    )


def save_offer(connection: Connection, run_key: int, standing: Standing, offer: Offer) -> None:
    """Let a run speak from now on, instead of what it said before.

    Where that changes the finished runs, their project's row lock puts those that finish at once in order.
    """
    connection.execute(
        text("""
            INSERT INTO offer (run_key, project_id, revision, rules, arrivals, traits, losses, made)
            VALUES (:key, :project_id, :revision, :rules, :arrivals, CAST(:traits AS jsonb), CAST(:losses AS jsonb),
                :made)
            ON CONFLICT (run_key) DO UPDATE SET revision = excluded.revision, rules = excluded.rules,
                arrivals = excluded.arrivals, traits = excluded.traits, losses = excluded.losses, made = excluded.made
        """),
        {
            "key": run_key,
            "project_id": standing.project_id,
            "revision": _revision(connection, standing, offer),
            "rules": offer.rules,
            "arrivals": offer.arrivals,
            "traits": as_json(asdict(offer.traits)),
            "losses": as_json({metric: asdict(loss) for metric, loss in offer.losses.items()}),
            "made": offer.made,
        },
    )


def withdraw_offer(connection: Connection, run_key: int, standing: Standing) -> None:
    """Of a run that goes on after all, or that has failed or was stopped."""
    if standing.offer is not None and standing.offer.is_final:
        _next_revision(connection, standing.project_id)
    connection.execute(text("DELETE FROM offer WHERE run_key = :key"), {"key": run_key})


def runs_to_offer(connection: Connection, rules: int, limit: int = 200) -> list[str]:
    """Finished runs that were never judged by these rules: of before an upgrade, mostly. The sweep refits them."""
    return list(
        connection.execute(
            text("""
                SELECT run.id FROM run
                LEFT JOIN offer ON offer.run_key = run.key AND offer.rules = :rules AND offer.made = 1
                WHERE run.status = 'finished' AND offer.run_key IS NULL ORDER BY run.key DESC LIMIT :limit
            """),
            {"rules": rules, "limit": limit},
        ).scalars()
    )


def named(connection: Connection, siblings: Sequence[SiblingRun]) -> tuple[SiblingRun, ...]:
    """The same with the names that the runs have now; None for those that were deleted since."""
    if not siblings:
        return ()
    names = {
        row.id: row.name
        for row in connection.execute(
            text("SELECT id, name FROM run WHERE id = ANY(:ids)").bindparams(bindparam("ids", type_=ARRAY(Text))),
            {"ids": [each.run_id for each in siblings]},
        )
    }
    return tuple(replace(each, name=names.get(each.run_id)) for each in siblings)


def count_others(connection: Connection, run_id: str) -> tuple[int, int, int]:
    """Other finished runs of the run's project, those of them that may speak, and those still going that may."""
    row = connection.execute(
        text("""
            SELECT count(*) FILTER (WHERE offer.made = 1) AS finished,
                count(*) FILTER (WHERE offer.made = 1 AND offer.losses <> '{}') AS may_speak,
                count(*) FILTER (WHERE offer.made < 1 AND offer.losses <> '{}' AND other.status = 'running') AS going
            FROM run JOIN offer ON offer.project_id = run.project_id AND offer.run_key <> run.key
            JOIN run other ON other.key = offer.run_key
            WHERE run.id = :run_id
        """),
        {"run_id": run_id},
    ).one()
    return row.finished, row.may_speak, row.going


def siblings_to_json(siblings: Iterable[SiblingRun]) -> list[dict[str, Any]]:
    return [{"run": each.run_id, "similarity": each.similarity, "made": each.made} for each in siblings]


def siblings_from_json(stored: Iterable[Mapping[str, Any]]) -> tuple[SiblingRun, ...]:
    """Without a share made, it was written when none but finished runs spoke."""
    return tuple(SiblingRun(each["run"], each["similarity"], made=each.get("made", 1.0)) for each in stored)


def _revision(connection: Connection, standing: Standing, offer: Offer) -> int:
    """Of an offer that takes the place of what the run said before: the next, where the finished runs change by it."""
    is_change = offer.is_final or (standing.offer is not None and standing.offer.is_final)
    return _next_revision(connection, standing.project_id) if is_change else standing.siblings_revision


def _next_revision(connection: Connection, project_id: int) -> int:
    return int(
        connection.execute(
            text("""
                UPDATE project SET siblings_revision = siblings_revision + 1 WHERE id = :id RETURNING siblings_revision
            """),
            {"id": project_id},
        ).scalar_one()
    )


def _offer(row: Row[Any]) -> Offer:
    losses = {metric: OfferedLoss(loss["role"], tuple(loss["levels"])) for metric, loss in row.losses.items()}
    return Offer(row.rules, row.arrivals, Traits(**row.traits), losses, row.made)


def _heard(stored: Mapping[str, Any]) -> Heard:
    (run,) = siblings_from_json([stored])
    return Heard(run, stored["key"], stored["revision"])


def _prior(stored: Mapping[str, Any] | None) -> Prior | None:
    """None too where another version wrote it: then it is learned again."""
    try:
        return None if stored is None else prior_from_dict(stored)
    except (TypeError, KeyError, ValueError):
        return None
