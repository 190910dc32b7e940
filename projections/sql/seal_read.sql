-- Read what a sealer goes on from: how far the newest checkpoint goes, and the leaf hashes after those it knows.
SELECT
    (SELECT coalesce(max(size), 0) FROM checkpoints) AS sealed,
    count(*) AS events,
    coalesce(max(notification_id), %(after)s) AS reached,
    coalesce(string_agg(leaf_hash, ''::bytea ORDER BY notification_id), ''::bytea) AS leaves
FROM ledger_events
WHERE notification_id > %(after)s AND notification_id <= %(after)s + %(limit)s
