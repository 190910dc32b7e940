-- 9, what open positions are worth, beside read_batch where money is to be taken out; times in microseconds.
SELECT 9::smallint, f.login, f.orders, f.unvalued, f.profit, f.storage, f.commission, f.margin,
    (extract(epoch FROM f.quoted_at - timestamptz '2000-01-01 00:00Z') * 1000000)::bigint,
    CASE WHEN NOT EXISTS (SELECT FROM regroupings r WHERE r.login = f.login) THEN
        (extract(epoch FROM ({fed_at}) - timestamptz '2000-01-01 00:00Z') * 1000000)::bigint
    END,
    NULL::bigint, NULL::text, NULL::text, NULL::text, NULL::bytea
FROM figures f WHERE f.login = ANY(%(logins)s) AND f.orders > 0
