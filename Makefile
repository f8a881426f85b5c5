# The commands of this repository; `make help` lists them.
#
# Python 3.11 or newer must be there. Everything else `make up` needs is installed into .venv;
# `make test` also installs Debian's packages for the servers and compilers it uses.

PYTHON ?= $(or $(shell command -v python3.11 || command -v python3.12 || command -v python3),python3.11)
RUN := .venv/bin/python

# MariaDB's driver is compiled, so only those who use MariaDB install it.
EXTRAS := embedded $(if $(filter mariadb,$(DB))$(findstring mysql:,$(DATABASE_URL))$(findstring mariadb:,$(DATABASE_URL)),mariadb)

# Without bytecode on disk every process would compile a thousand modules anew: 3 s instead of 1 s.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help up test check fix bench stampede chaos development
.DEFAULT_GOAL := help

help:  ## List these commands.
	@sed -n 's/^\([a-z]*\): *[a-z]* *## \(.*\)/\1	\2/p' Makefile | expand -t 12

up:  ## Run the whole service with demonstration data: PORT=9000, DB=mariadb, or DATABASE_URL= REDIS_URL=
	@$(PYTHON) dev/install.py $(EXTRAS)
	@$(RUN) -m dev.up

test:  ## Install what is missing, then every check and every test, on private servers.
	@$(PYTHON) dev/install.py --debian --development
	@$(RUN) -m dev.test

check: development  ## Format, lint, types, import contracts; and the ten longest functions.
	@$(RUN) -m dev.test --static
	@$(RUN) -m dev.longest

fix: development  ## Format, and repair what ruff can repair.
	@.venv/bin/ruff format
	@.venv/bin/ruff check --fix

bench: development  ## Compare with what else there is; see bench/.
	@$(RUN) -m bench

stampede: development  ## 1,000 devices at once against this service and its rivals: DEVICES=1000 ONLY=ours DB=sqlite
	@$(RUN) -m bench.stampede $(ONLY:%=--only %)

chaos: development  ## Kill web, worker, shipper and Redis under load, and look for what was lost: ROUNDS=200
	@$(RUN) -m dev.chaos $(ROUNDS:%=--rounds %)

development:
	@$(PYTHON) dev/install.py --development
