# The web server, the worker and the migrations are one image; docker-compose.yml says which command runs where.
FROM python:3.12-slim AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/losscast
ENV PATH=/opt/losscast/bin:$PATH

# The pinned, hashed environment alone first: a change of our code does not install it again. It holds the tools of
# development too, since one file pins all; the large ones that nothing needs at run time go.
WORKDIR /src
COPY constraints.txt ./
RUN pip install --require-hashes -r constraints.txt \
    && pip uninstall --yes playwright mypy ruff import-linter grimp scipy-stubs pytest pytest-timeout

COPY pyproject.toml README.md LICENSE ./
COPY app app
COPY migrations migrations
COPY static static
RUN pip install --no-deps --no-build-isolation .


FROM python:3.12-slim

# An account with a name, because initdb refuses a bare number when `losscast up` runs its own Postgres in here.
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/losscast losscast
COPY --from=build /opt/losscast /opt/losscast

ENV PATH=/opt/losscast/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    LOSSCAST_DATA_DIR=/var/lib/losscast
USER losscast
WORKDIR /var/lib/losscast
EXPOSE 8700

# Of this process alone: whoever restarts what is unhealthy would mend no dead worker by it (/healthz tells of those).
# By an opener without proxies: the check must not leave the container.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=6 CMD ["python", "-c", "\
import os, urllib.request; \
port = os.environ.get('LOSSCAST_PORT', '8700'); \
urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f'http://127.0.0.1:{port}/livez', timeout=4)"]

ENTRYPOINT ["losscast"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8700"]
