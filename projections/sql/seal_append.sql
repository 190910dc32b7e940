-- Keep the nodes that a seal completed, and its checkpoint. Whoever seals the same comes to the same: the first stays.
WITH nodes AS (
    INSERT INTO tree_nodes (level, "index", hash)
    SELECT * FROM unnest(%(levels)s::smallint[], %(indexes)s::bigint[], %(hashes)s::bytea[])
    ON CONFLICT DO NOTHING
)
INSERT INTO checkpoints (size, root, sealed_at, note)
VALUES (%(size)s, %(root)s, %(sealed_at)s, %(note)s)
ON CONFLICT DO NOTHING
