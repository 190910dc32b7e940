-- What the matched accounts add up to, group by group: one scan over the tables that the filter names.
SELECT v."group", count(*), sum(v.balance), sum(v.credit), sum(v.prevbalance), sum(v.prevmonthbalance),
    sum(v.profit), sum(v.storage), sum(v.commission), sum(v.margin), sum(v.orders), sum(v.unvalued),
    count(*) FILTER (WHERE v.quoted_at < %(oldest)s)
FROM ({accounts}) AS v
WHERE {where}
GROUP BY v."group"
