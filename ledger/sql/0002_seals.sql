-- Seals: a Merkle tree over the log as in RFC 6962, and signed checkpoints of it. Both tables are only added to.
-- A leaf hash was sha256 of the event's bytes; it becomes the tree's, which begins with a zero byte. One that was
-- not right stays as it is, so that a verification still finds it.
UPDATE ledger_events SET leaf_hash = sha256('\x00'::bytea || state) WHERE leaf_hash = sha256(state);

-- The tree's nodes at every eighth level, over 256, 65 536, ... events; level 0 are the leaf hashes in the log.
-- The node at an index covers the positions from index * 2 ^ level + 1 on.
CREATE TABLE tree_nodes (
    level smallint NOT NULL,
    "index" bigint NOT NULL,
    hash bytea NOT NULL,
    CONSTRAINT tree_nodes_pkey PRIMARY KEY (level, "index")
);

-- What the log was when it was sealed: its length, the tree's root, and both in a signed note.
CREATE TABLE checkpoints (
    size bigint NOT NULL,
    root bytea NOT NULL,
    sealed_at timestamptz NOT NULL,
    note text NOT NULL,
    CONSTRAINT checkpoints_pkey PRIMARY KEY (size)
);
