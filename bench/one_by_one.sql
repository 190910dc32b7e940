-- The operation as a statement of its own, for clients that commit one by one: what the group commit
-- does for a deposit, rule for rule and row for row. The gate is taken as late as positions allow.
CREATE FUNCTION book_deposit(asked_id text, asked_login bigint, asked_amount bigint) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    account accounts;
    taken bigint;
    last jsonb;
    moment timestamptz;
    day date;
    before_day bigint;
    before_month bigint;
    event bytea;
BEGIN
    IF EXISTS (SELECT FROM requests WHERE request_id = asked_id) THEN
        RETURN 'applied';
    END IF;
    SELECT * INTO account FROM accounts WHERE login = asked_login FOR UPDATE;
    IF NOT FOUND THEN
        RETURN 'unknown_login';
    END IF;
    IF asked_amount <= 0 OR account.balance + asked_amount NOT BETWEEN 0 AND (1::bigint << 62) THEN
        RETURN 'refused';
    END IF;

    LOCK TABLE gate IN EXCLUSIVE MODE;
    SELECT notification_id + 1, convert_from(state, 'UTF8')::jsonb INTO taken, last
    FROM ledger_events ORDER BY notification_id DESC LIMIT 1;
    moment := greatest(clock_timestamp(), (last ->> 'recordedAt')::timestamptz);
    day := greatest((moment AT TIME ZONE 'UTC')::date, (last ->> 'serverDay')::date);
    before_day := CASE WHEN day > account.balance_day THEN account.balance ELSE account.balance_before_day END;
    before_month := CASE
        WHEN date_trunc('month', day)::date > account.balance_month THEN account.balance
        ELSE account.balance_before_month
    END;
    event := convert_to(format(
        '{"type":"money-moved","position":%s,"stream":"account:%s","version":%s,"operation":%s,'
        '"recordedAt":"%s","serverDay":"%s","tradingDay":"%s","schema":1,"requestId":"%s",'
        '"operatorId":"system","login":%s,"group":"%s","kind":"deposit","currency":"%s","digits":%s,'
        '"amount":%s,"balanceChange":%s,"balance":%s,"credit":%s,"comment":"card payment"}',
        taken, asked_login, account.version + 1, taken,
        to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), day, day, asked_id,
        asked_login, account.group_name, account.currency, account.digits,
        asked_amount, asked_amount, account.balance + asked_amount, account.credit
    ), 'UTF8');

    INSERT INTO ledger_events (
        notification_id, originator_id, originator_version, topic, state, leaf_hash
    ) VALUES (
        taken, 'account:' || asked_login, account.version + 1, 'money-moved', event,
        sha256('\x00'::bytea || event)
    );
    INSERT INTO requests (request_id, "position", size) VALUES (asked_id, taken, 1);
    INSERT INTO history (
        "position", login, recorded_at, effective_at, operation, amount, balance_change, credit_change,
        balance, credit, server_day, trading_day, digits, kind, currency, group_name, request_id,
        operator_id, comment
    ) VALUES (
        taken, asked_login, moment, moment, taken, asked_amount, asked_amount, 0,
        account.balance + asked_amount, account.credit, day, day, account.digits, 'deposit',
        account.currency, account.group_name, asked_id, 'system', 'card payment'
    );
    INSERT INTO days (server_day, trading_day, "position", recorded_at) VALUES (day, day, taken, moment)
    ON CONFLICT (server_day) DO NOTHING;
    UPDATE accounts SET
        version = account.version + 1, balance = account.balance + asked_amount,
        balance_before_day = before_day, balance_before_month = before_month,
        balance_day = day, balance_month = date_trunc('month', day)::date
    WHERE login = asked_login AND version = account.version;
    PERFORM require(FOUND, 'an account moved under the operation');
    RETURN 'booked';
END
$$;
