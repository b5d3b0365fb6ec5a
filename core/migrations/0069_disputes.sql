CREATE SCHEMA disputes;

-- What a buyer contests at the provider, as the provider tells it. `is_holding`: the money of its order waits for it.
-- `look_at` is when the provider is asked again, should it tell nothing more.
CREATE TABLE disputes.disputes (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    channel       text NOT NULL,
    provider_ref  text COLLATE "C" NOT NULL,
    payment_id    uuid NOT NULL,
    order_id      uuid NOT NULL,
    state         text NOT NULL,
    stage         text NOT NULL,
    reason        text NOT NULL,
    amount_minor  bigint NOT NULL,
    currency      char(3) NOT NULL,
    is_our_turn   boolean NOT NULL,
    respond_by    timestamptz,
    told_at       timestamptz NOT NULL,
    is_holding    boolean NOT NULL DEFAULT false,
    opened_at     timestamptz NOT NULL DEFAULT now(),
    ended_at      timestamptz,
    look_at       timestamptz NOT NULL,
    CONSTRAINT a_provider_has_one_of_each_name UNIQUE (channel, provider_ref),
    CONSTRAINT what_is_open_has_not_ended CHECK ((state = 'open') = (ended_at IS NULL))
);

CREATE INDEX disputes_by_state ON disputes.disputes (state, id);
CREATE INDEX disputes_to_look_at ON disputes.disputes (look_at) WHERE state = 'open';

-- Each state that a dispute came to, for whoever reads on.
CREATE TABLE disputes.events (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dispute_id   bigint NOT NULL REFERENCES disputes.disputes,
    state        text NOT NULL,
    happened_at  timestamptz NOT NULL DEFAULT now(),
    xact         xid8 NOT NULL DEFAULT pg_current_xact_id()
);

CREATE INDEX events_by_transaction ON disputes.events (xact, happened_at);
