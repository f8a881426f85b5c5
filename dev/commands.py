"""The processes of an installation, as words after `python -m`. docker-compose.yml has the same."""

WEB = ("stabilizer.server", "web")
REALTIME = ("stabilizer.server", "realtime")
SHIPPER = ("manage", "audit", "ship")
WORKER = ("celery", "-A", "stabilizer", "worker", "-Q", "default,audit", "--concurrency", "1")
BEAT = ("celery", "-A", "stabilizer", "beat")
