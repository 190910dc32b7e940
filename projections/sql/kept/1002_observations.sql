-- What the trading server tells of a moment. Observations are replaced, never events; a rebuild leaves
-- them alone. Money is in minor units of the account's currency. Times are of the ledger's clock.

-- The latest quote of each symbol. quoted_at is when the trading server says it was, received_at when it came.
CREATE TABLE quotes (
    symbol text COLLATE "C" NOT NULL,
    bid numeric NOT NULL,
    ask numeric NOT NULL,
    quoted_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    CONSTRAINT quotes_pkey PRIMARY KEY (symbol)
) WITH (fillfactor = 50);

-- The open positions. storage, commission, and profit and margin where the trading server sends them, are
-- in the account's currency; profit and margin are null where they are to be computed from quotes.
CREATE TABLE positions (
    ticket bigint NOT NULL,
    login bigint NOT NULL,
    symbol text COLLATE "C" NOT NULL,
    buy boolean NOT NULL,
    lots numeric NOT NULL,
    open_price numeric NOT NULL,
    opened_at timestamptz,
    storage bigint NOT NULL,
    commission bigint NOT NULL,
    profit bigint,
    margin bigint,
    CONSTRAINT positions_pkey PRIMARY KEY (ticket)
) WITH (fillfactor = 80);

CREATE INDEX positions_login ON positions (login);
CREATE INDEX positions_symbol ON positions (symbol);

-- The snapshots that have begun, in that order: staging, finished or void; only the newest may be staging. gaps is
-- what its stream had missed when it began: a snapshot of which a part was missed never becomes the open positions.
-- heard_at is when its last part came.
CREATE TABLE snapshots (
    epoch bigint NOT NULL,
    snapshot_id text COLLATE "C" NOT NULL,
    "number" bigint NOT NULL,
    gaps bigint NOT NULL,
    heard_at timestamptz NOT NULL,
    state text NOT NULL,
    CONSTRAINT snapshots_pkey PRIMARY KEY (epoch, snapshot_id)
);

CREATE INDEX snapshots_number ON snapshots ("number");

-- The parts of the snapshot that has not been finished; its final part makes them the open positions. What a
-- delta told meanwhile stands here too and goes before any part. A ticket with open = false stays as it is among
-- the open positions: a delta has closed it, or a part named it in an item that was refused.
CREATE TABLE position_parts (
    ticket bigint NOT NULL,
    login bigint NOT NULL,
    symbol text COLLATE "C" NOT NULL,
    buy boolean NOT NULL,
    lots numeric NOT NULL,
    open_price numeric NOT NULL,
    opened_at timestamptz,
    storage bigint NOT NULL,
    commission bigint NOT NULL,
    profit bigint,
    margin bigint,
    open boolean NOT NULL,
    by_delta boolean NOT NULL,
    CONSTRAINT position_parts_pkey PRIMARY KEY (ticket)
);

-- Who is online.
CREATE TABLE online (
    login bigint NOT NULL,
    CONSTRAINT online_pkey PRIMARY KEY (login)
);

-- How far each stream of the feed has come. gaps counts the numbers missed. Whoever writes observations locks
-- these rows first, so that two services do so one after the other. as_of is up to when all that the stream tells is
-- known: of the positions, when the last delta was taken, or a snapshot finished, for all accounts.
CREATE TABLE feed_streams (
    stream text COLLATE "C" NOT NULL,
    epoch bigint NOT NULL,
    seq bigint,
    gaps bigint NOT NULL,
    received_at timestamptz,
    as_of timestamptz,
    CONSTRAINT feed_streams_pkey PRIMARY KEY (stream)
) WITH (fillfactor = 50);

INSERT INTO feed_streams (stream, epoch, seq, gaps, received_at, as_of)
VALUES ('online', 0, NULL, 0, NULL, NULL), ('positions', 0, NULL, 0, NULL, NULL), ('quotes', 0, NULL, 0, NULL, NULL);

-- The last definition of a symbol or the server that all figures were valued by, as its position: one row.
CREATE TABLE valuation (
    one boolean NOT NULL,
    defined bigint NOT NULL,
    CONSTRAINT valuation_pkey PRIMARY KEY (one),
    CONSTRAINT valuation_one CHECK (one)
);

INSERT INTO valuation (one, defined) VALUES (true, 0);

-- What each account's open positions add up to; an account without positions has no row, or one of zeros.
-- quoted_at is the time of the oldest quote that went in, null where none did; unvalued counts the
-- positions that lack a quote or a rate, whose profit or margin is missing here. group_name and enable are
-- under which figure_totals counts the row: where the account's own differ, regroupings names it.
CREATE TABLE figures (
    login bigint NOT NULL,
    group_name text COLLATE "C" NOT NULL,
    enable boolean NOT NULL,
    orders integer NOT NULL,
    unvalued integer NOT NULL,
    profit bigint NOT NULL,
    storage bigint NOT NULL,
    commission bigint NOT NULL,
    margin bigint NOT NULL,
    quoted_at timestamptz,
    CONSTRAINT figures_pkey PRIMARY KEY (login)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);

-- The sums of figures.
CREATE TABLE figure_totals (
    group_name text COLLATE "C" NOT NULL,
    enable boolean NOT NULL,
    orders bigint NOT NULL,
    unvalued bigint NOT NULL,
    profit numeric NOT NULL,
    storage numeric NOT NULL,
    commission numeric NOT NULL,
    margin numeric NOT NULL,
    CONSTRAINT figure_totals_pkey PRIMARY KEY (group_name, enable)
) WITH (fillfactor = 50);

-- Accounts that changed group or flag since their figures were last placed. The writer only adds rows
-- here, so that it never waits for the feed; the valuation takes away those that it has seen.
CREATE TABLE regroupings (
    login bigint NOT NULL,
    "position" bigint NOT NULL,
    CONSTRAINT regroupings_pkey PRIMARY KEY (login, "position")
);
