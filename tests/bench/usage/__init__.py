"""What usage events cost, from the journal to the answer about them, and how far one Postgres and one Valkey go."""
