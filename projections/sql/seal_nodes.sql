-- Read the nodes of a tile: up to 256 neighbours of one level, in order, as one value; and how far they go.
SELECT
    count(*) AS hashes,
    coalesce(max("index") + 1, %(start)s) AS reached,
    coalesce(string_agg(hash, ''::bytea ORDER BY "index"), ''::bytea) AS row
FROM tree_nodes
WHERE level = %(level)s AND "index" >= %(start)s AND "index" < %(end)s
