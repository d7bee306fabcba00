-- oldest-compatible: 1

-- Counts how often all logins of a user were ended; a login token says which of them it is from.
ALTER TABLE users ADD COLUMN session_generation integer NOT NULL DEFAULT 0;
