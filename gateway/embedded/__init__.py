"""What `gateway demo` and the tests run on: real Postgres and Valkey from wheels, demo backends, and who watches them.

Never imported in production: only `gateway.cli` may, and only for the `demo` command.
"""
