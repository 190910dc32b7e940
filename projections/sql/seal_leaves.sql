-- Read the leaf hashes of a tile: those of up to 256 positions, in order, as one value; and how far they go.
SELECT
    count(*) AS hashes,
    coalesce(max(notification_id), %(start)s) AS reached,
    coalesce(string_agg(leaf_hash, ''::bytea ORDER BY notification_id), ''::bytea) AS row
FROM ledger_events
WHERE notification_id > %(start)s AND notification_id <= %(end)s
