"""What senders are told when storage cannot keep up, or is away."""

from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import text

from app.storage.database import Database
from tests.service import Web


def test_a_full_queue_answers_429_and_stores_all_that_it_took(database_url: str) -> None:
    database = Database(database_url)
    with Web(database_url, queue_limit="4") as web:
        run_id = web.new_run()

        def send(seq: int) -> int:
            body = {"segment": 1, "seq": seq, "steps": [seq], "metrics": {"loss": [1.0]}}
            answer = web.http.post(f"/api/v1/runs/{run_id}/batches", json=body)
            if answer.status_code == 429:
                assert int(answer.headers["Retry-After"]) >= 1
                assert "same batch again" in answer.json()["message"]
            return answer.status_code

        with ThreadPoolExecutor(20) as pool:
            with database.write() as connection:
                # As long as this lock is held no batch of any run gets through.
                connection.execute(text("LOCK TABLE run_progress IN EXCLUSIVE MODE"))
                answers = [pool.submit(send, seq) for seq in range(20)]
                refused = [answer for answer in answers if _is_done_soon(answer)]
            statuses = [answer.result() for answer in answers]
        assert refused
        assert set(statuses) == {200, 429}
        stored = set(web.points(run_id))
        assert stored == {seq for seq, status in enumerate(statuses) if status == 200}
        # What was refused is taken when it is sent again.
        assert {send(seq) for seq in range(20)} == {200}
        assert set(web.points(run_id)) == set(range(20))
    database.close()


def _is_done_soon(answer) -> bool:  # type: ignore[no-untyped-def]
    try:
        answer.result(timeout=1.0)
    except TimeoutError:
        return False
    return True


def test_one_batch_that_the_database_refuses_does_not_cost_the_others(web: Web) -> None:
    good, bad = web.new_run(), web.new_run()
    columns = {f"metric {at} {'x' * 500}": [1.0] for at in range(3000)}

    def send(run_id: str, seq: int) -> int:
        metrics = columns if run_id == bad else {"loss": [1.0]}
        body = {"segment": 1, "seq": seq, "steps": [seq], "metrics": metrics}
        return web.http.post(f"/api/v1/runs/{run_id}/batches", json=body).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda at: send(bad if at == 3 else good, at), range(12)))
    assert statuses.count(200) >= 11
    assert len(web.points(good)) == 11
