-- `fields` is what fitted the country's form when it was written, the country among it.
CREATE TABLE members.addresses (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    member_id  bigint NOT NULL,
    fields     jsonb NOT NULL,
    added_at   timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX addresses_by_member ON members.addresses (member_id, id);
