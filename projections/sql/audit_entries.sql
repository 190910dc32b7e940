-- The events after a position as they are stored, in order; positions have no gap and come in the order
-- of commit, so nothing can appear later before what was read.
SELECT notification_id, state, leaf_hash
FROM ledger_events
WHERE notification_id > %(after)s
ORDER BY notification_id
LIMIT %(limit)s
