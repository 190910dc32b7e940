-- Add the rows of new accounts, given as one JSON array; money comes with the batch that opens them.
WITH opened AS (
    SELECT * FROM jsonb_to_recordset(%(rows)s::jsonb) AS o (
        login bigint, "group" text, currency text, digits smallint, leverage integer, enable boolean,
        trading_day date, server_month date, regdate bigint, enable_read_only boolean,
        enable_change_password boolean, magic bigint, customer_id bigint, name text, email text,
        country text, phone text, address text, city text, zipcode text, comment text
    )
),
held AS (
    INSERT INTO accounts (
        login, version, balance, credit, balance_before_day, balance_before_month, balance_day,
        balance_month, digits, enable, leverage, group_name, currency
    )
    SELECT login, 0, 0, 0, 0, 0, trading_day, server_month, digits, enable, leverage, "group", currency
    FROM opened
)
INSERT INTO profiles (
    login, regdate, enable_read_only, enable_change_password, magic, customer_id, name, email, country,
    phone, address, city, zipcode, comment
)
SELECT login, regdate, enable_read_only, enable_change_password, magic, customer_id, name, email, country,
    phone, address, city, zipcode, comment
FROM opened
