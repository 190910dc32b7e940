-- The read models, whole. Any change here makes `fundledger migrate` rebuild them from the log.
-- Money is in integer minor units of the account's currency; positions point into ledger_events.

-- Which operation a request caused: request ids are unique for ever. size is its number of events.
CREATE TABLE requests (
    request_id text COLLATE "C" NOT NULL,
    "position" bigint NOT NULL,
    size smallint NOT NULL,
    CONSTRAINT requests_pkey PRIMARY KEY (request_id)
);

-- What each account holds now. balance_before_day is the balance before the first change of
-- balance_day (a trading day), balance_before_month the one before balance_month (its first day).
-- grants is a JSON list [[grant position, expires_at, left], ...], null where no credit expires.
CREATE TABLE accounts (
    login bigint NOT NULL,
    version bigint NOT NULL,
    balance bigint NOT NULL,
    credit bigint NOT NULL,
    balance_before_day bigint NOT NULL,
    balance_before_month bigint NOT NULL,
    balance_day date NOT NULL,
    balance_month date NOT NULL,
    digits smallint NOT NULL,
    enable boolean NOT NULL,
    leverage integer NOT NULL,
    group_name text COLLATE "C" NOT NULL,
    currency text COLLATE "C" NOT NULL,
    grants text,
    grants_expire_at timestamptz,
    CONSTRAINT accounts_pkey PRIMARY KEY (login)
) WITH (fillfactor = 70);

CREATE INDEX accounts_grants_expire_at ON accounts (grants_expire_at) WHERE grants_expire_at IS NOT NULL;
-- Pages of groups, each by login. Money does not touch these columns, so the updates of money stay cheap.
CREATE INDEX accounts_group ON accounts (group_name, enable, login);

-- What an account is called, and its flags: the columns that money never touches.
CREATE TABLE profiles (
    login bigint NOT NULL,
    regdate bigint NOT NULL,
    enable_read_only boolean NOT NULL,
    enable_change_password boolean NOT NULL,
    magic bigint NOT NULL,
    customer_id bigint NOT NULL,
    name text NOT NULL,
    email text NOT NULL,
    country text NOT NULL,
    phone text NOT NULL,
    address text NOT NULL,
    city text NOT NULL,
    zipcode text NOT NULL,
    comment text NOT NULL,
    CONSTRAINT profiles_pkey PRIMARY KEY (login)
);

-- One row a leg of a money operation, with what the account held after it. The reference is unique
-- among operations of a kind and method that were not reversed; it stands on the first leg.
CREATE TABLE history (
    "position" bigint NOT NULL,
    login bigint NOT NULL,
    recorded_at timestamptz NOT NULL,
    effective_at timestamptz NOT NULL,
    operation bigint NOT NULL,
    amount bigint NOT NULL,
    balance_change bigint NOT NULL,
    credit_change bigint NOT NULL,
    balance bigint NOT NULL,
    credit bigint NOT NULL,
    server_day date NOT NULL,
    trading_day date NOT NULL,
    digits smallint NOT NULL,
    corrects bigint,
    reversed_by bigint,
    peer bigint,
    kind text COLLATE "C" NOT NULL,
    currency text COLLATE "C" NOT NULL,
    group_name text COLLATE "C" NOT NULL,
    request_id text COLLATE "C",
    operator_id text,
    key_id text,
    reference text COLLATE "C",
    method text COLLATE "C",
    comment text,
    warnings text,
    metadata text,
    CONSTRAINT history_pkey PRIMARY KEY ("position")
);

CREATE INDEX history_login ON history (login, recorded_at, "position");
CREATE INDEX history_recorded_at ON history (recorded_at, "position");
CREATE UNIQUE INDEX history_reference ON history (reference, kind, method)
    WHERE reference IS NOT NULL AND method IS NOT NULL AND reversed_by IS NULL AND "position" = operation;
CREATE INDEX history_any_reference ON history (reference) WHERE reference IS NOT NULL;
-- Nothing is effective after it was recorded; only what is backdated has places of its own.
CREATE INDEX history_backdated ON history (effective_at, "position") WHERE effective_at < recorded_at;
CREATE INDEX history_backdated_login ON history (login, effective_at, "position")
    WHERE effective_at < recorded_at;
CREATE INDEX history_corrects ON history (corrects) WHERE corrects IS NOT NULL;

-- The first event of each server day. Days never go back, so a day is a range of positions.
CREATE TABLE days (
    server_day date NOT NULL,
    trading_day date NOT NULL,
    "position" bigint NOT NULL,
    recorded_at timestamptz NOT NULL,
    CONSTRAINT days_pkey PRIMARY KEY (server_day)
);

-- What a key with a daily limit has moved, in minor units.
CREATE TABLE key_usage (
    key_id text COLLATE "C" NOT NULL,
    server_day date NOT NULL,
    currency text COLLATE "C" NOT NULL,
    used bigint NOT NULL,
    CONSTRAINT key_usage_pkey PRIMARY KEY (key_id, server_day, currency)
);

-- The sums over accounts, kept in the write transaction. An account counts under its group, its flag, and
-- the day and month of its last change; what is not of the present day or month is folded into -infinity.
CREATE TABLE totals (
    group_name text COLLATE "C" NOT NULL,
    enable boolean NOT NULL,
    balance_day date NOT NULL,
    balance_month date NOT NULL,
    accounts bigint NOT NULL,
    balance numeric NOT NULL,
    credit numeric NOT NULL,
    balance_before_day numeric NOT NULL,
    balance_before_month numeric NOT NULL,
    CONSTRAINT totals_pkey PRIMARY KEY (group_name, enable, balance_day, balance_month)
) WITH (fillfactor = 50);

-- What batches added to totals since they were last put together; who asks adds both. The writer only adds
-- rows here: a row that each batch updates would slow it down for as long as anybody holds an old snapshot.
CREATE TABLE totals_added (
    group_name text COLLATE "C" NOT NULL,
    enable boolean NOT NULL,
    balance_day date NOT NULL,
    balance_month date NOT NULL,
    accounts bigint NOT NULL,
    balance numeric NOT NULL,
    credit numeric NOT NULL,
    balance_before_day numeric NOT NULL,
    balance_before_month numeric NOT NULL
);

-- What each kind of operation moved on each server day, by the group at booking. The kind group-change is
-- what accounts took from one group to another.
CREATE TABLE daily (
    server_day date NOT NULL,
    group_name text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    operations bigint NOT NULL,
    balance_change numeric NOT NULL,
    credit_change numeric NOT NULL,
    CONSTRAINT daily_pkey PRIMARY KEY (server_day, group_name, kind)
) WITH (fillfactor = 50);

-- What batches added to daily since they were last put together.
CREATE TABLE daily_added (
    server_day date NOT NULL,
    group_name text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    operations bigint NOT NULL,
    balance_change numeric NOT NULL,
    credit_change numeric NOT NULL
);

-- The present definition of each symbol. Prices have `digits` decimals; contract_size is in units of the
-- base currency a lot.
CREATE TABLE symbols (
    symbol text COLLATE "C" NOT NULL,
    "position" bigint NOT NULL,
    version bigint NOT NULL,
    digits smallint NOT NULL,
    contract_size numeric NOT NULL,
    base_currency text COLLATE "C" NOT NULL,
    profit_currency text COLLATE "C" NOT NULL,
    margin_rate numeric NOT NULL,
    swap_long numeric NOT NULL,
    swap_short numeric NOT NULL,
    spread integer NOT NULL,
    trade_mode text NOT NULL,
    description text NOT NULL,
    CONSTRAINT symbols_pkey PRIMARY KEY (symbol)
);

CREATE INDEX symbols_position ON symbols ("position");

-- The present definition of each group. max_operation in minor units.
CREATE TABLE groups (
    group_name text COLLATE "C" NOT NULL,
    "position" bigint NOT NULL,
    version bigint NOT NULL,
    currency text COLLATE "C" NOT NULL,
    digits smallint NOT NULL,
    leverage integer NOT NULL,
    equity_mode text NOT NULL,
    withdraw_policy text NOT NULL,
    refuse_when_stale boolean NOT NULL,
    margin_call text,
    stop_out text,
    max_operation bigint,
    coverage boolean NOT NULL,
    permissions text,
    CONSTRAINT groups_pkey PRIMARY KEY (group_name)
);

CREATE INDEX groups_position ON groups ("position");

-- The server's clock, the book currency and the mark of a simulated ledger: one row.
CREATE TABLE server (
    one boolean NOT NULL,
    "position" bigint NOT NULL,
    version bigint NOT NULL,
    timezone text NOT NULL,
    day_end text NOT NULL,
    overnight_days text NOT NULL,
    book_currency text NOT NULL,
    simulated_from timestamptz,
    CONSTRAINT server_pkey PRIMARY KEY (one),
    CONSTRAINT server_one CHECK (one)
);

-- The keys: the secret only as its keyed hash. revoked_at is an instant of the real clock.
CREATE TABLE keys (
    key_id text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    "position" bigint NOT NULL,
    name text NOT NULL,
    role text NOT NULL,
    scopes text[] NOT NULL,
    groups text NOT NULL,
    logins bigint[],
    amount_max text,
    amount_day_max text,
    secret_hash text NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz,
    replaces text,
    CONSTRAINT keys_pkey PRIMARY KEY (key_id)
);

-- One leg on its way into history, and one account on its way to its new state.
CREATE TYPE history_leg AS (
    "position" bigint,
    login bigint,
    operation bigint,
    amount bigint,
    balance_change bigint,
    credit_change bigint,
    balance bigint,
    credit bigint,
    digits smallint,
    recorded_at timestamptz,
    server_day date,
    trading_day date,
    effective_at timestamptz,
    corrects bigint,
    reversed_by bigint,
    peer bigint,
    kind text,
    currency text,
    group_name text,
    operator_id text,
    key_id text,
    method text,
    warnings text,
    request_id text,
    reference text,
    comment text,
    metadata text
);

CREATE TYPE account_state AS (
    login bigint,
    version_before bigint,
    version bigint,
    balance bigint,
    credit bigint,
    balance_before_day bigint,
    balance_before_month bigint,
    balance_day date,
    balance_month date,
    grants_expire_at timestamptz,
    grants text
);

CREATE TYPE applied_request AS (
    "position" bigint,
    size smallint,
    request_id text
);

CREATE TYPE totals_change AS (
    balance_day date,
    balance_month date,
    enable smallint,
    accounts bigint,
    group_name text,
    balance text,
    credit text,
    balance_before_day text,
    balance_before_month text
);

CREATE TYPE daily_change AS (
    operations bigint,
    server_day date,
    group_name text,
    kind text,
    balance_change text,
    credit_change text
);
