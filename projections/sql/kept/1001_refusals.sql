-- Refused attempts: they leave no event, but people must be able to see them. Numbers are counted on from
-- the last one, so they have no gap and come in the order of commit; batch names what was kept together.
CREATE TABLE refusals (
    number bigint NOT NULL,
    batch uuid NOT NULL,
    refused_at timestamptz NOT NULL,
    key_id text COLLATE "C" NOT NULL,
    operator_id text,
    request_id text COLLATE "C",
    method text NOT NULL,
    route text NOT NULL,
    status smallint NOT NULL,
    code text NOT NULL,
    detail text NOT NULL,
    field text,
    login bigint,
    CONSTRAINT refusals_pkey PRIMARY KEY (number)
);
