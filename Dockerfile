FROM python:3.11-slim-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libmariadb-dev pkg-config \
    && rm -rf /var/lib/apt/lists/* \
    && pip install --no-cache-dir uv
WORKDIR /app
COPY pyproject.toml uv.lock ./
RUN uv sync --frozen --no-dev --extra mariadb

FROM python:3.11-slim-bookworm
RUN apt-get update \
    && apt-get install -y --no-install-recommends libmariadb3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --create-home --home-dir /var/lib/stabilizer stabilizer
WORKDIR /app
COPY --from=build /app/.venv .venv
COPY manage.py ./
COPY accounts accounts
COPY audit audit
COPY locale locale
COPY pairing pairing
COPY ratelimit ratelimit
COPY realtime realtime
COPY stabilizer stabilizer
ENV PATH=/app/.venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER stabilizer
VOLUME /var/lib/stabilizer
EXPOSE 9000
CMD ["python", "-m", "stabilizer.server", "web", "--host", "0.0.0.0", "--port", "9000", "--workers", "2"]
