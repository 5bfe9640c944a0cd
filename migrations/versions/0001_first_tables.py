"""Recordings, their results and renditions, rejected events, the outbox.

One row of ``results`` is one result in the sense of the contract: (tenant, call, recording, chain digest). It is at
once the inbox, the queue and what the status table shows.
"""

from __future__ import annotations

from migrations.execute import execute

revision = "0001"
down_revision = None

_ID = "text NOT NULL CHECK ({0} ~ '^[A-Za-z0-9][A-Za-z0-9._:@-]{{0,127}}$')"

_RECORDINGS = f"""
CREATE TABLE recordings (
    tenant_id     {_ID.format("tenant_id")},
    call_id       {_ID.format("call_id")},
    recording_id  {_ID.format("recording_id")},
    source_url    text        NOT NULL,
    source_sha256 text        CHECK (source_sha256 ~ '^[0-9a-f]{{64}}$'),
    event_count   integer     NOT NULL DEFAULT 1 CHECK (event_count >= 1),
    first_seen_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, call_id, recording_id)
)"""

_RESULTS = """
CREATE TABLE results (
    result_id                uuid        PRIMARY KEY,
    tenant_id                text        NOT NULL,
    call_id                  text        NOT NULL,
    recording_id             text        NOT NULL,
    chain_name               text        NOT NULL,
    chain_digest             text        NOT NULL CHECK (chain_digest ~ '^[0-9a-f]+$'),
    chain                    jsonb       NOT NULL,
    event                    jsonb       NOT NULL,
    traceparent              text,
    status                   text        NOT NULL DEFAULT 'queued',
    queued_at                timestamptz NOT NULL DEFAULT now(),
    next_attempt_at          timestamptz NOT NULL DEFAULT now(),
    attempts                 integer     NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    retry_round              integer     NOT NULL DEFAULT 0 CHECK (retry_round >= 0),
    lease_token              bigint,
    lease_expires_at         timestamptz,
    worker                   text,
    started_at               timestamptz,
    finished_at              timestamptz,
    error_code               text,
    error_message            text,
    error_retriable          boolean,
    report                   jsonb,
    duration_s               double precision,
    before_lufs              double precision,
    after_lufs               double precision,
    before_noise_floor_dbfs  double precision,
    after_noise_floor_dbfs   double precision,
    UNIQUE (tenant_id, call_id, recording_id, chain_digest),
    FOREIGN KEY (tenant_id, call_id, recording_id) REFERENCES recordings,
    CONSTRAINT results_status_known CHECK (
        status IN ('queued', 'processing', 'cleaned', 'failed', 'erased')),
    CONSTRAINT results_processing_has_lease CHECK (
        (status = 'processing') = (lease_expires_at IS NOT NULL AND worker IS NOT NULL)
        AND (status <> 'processing' OR (lease_token IS NOT NULL AND started_at IS NOT NULL))),
    CONSTRAINT results_end_has_time CHECK (
        (status IN ('cleaned', 'failed', 'erased')) = (finished_at IS NOT NULL)),
    CONSTRAINT results_cleaned_has_report CHECK (
        status <> 'cleaned' OR (report IS NOT NULL AND error_code IS NULL)),
    CONSTRAINT results_error_is_whole CHECK (
        (error_code IS NULL) = (error_message IS NULL) AND (error_code IS NULL) = (error_retriable IS NULL)),
    CONSTRAINT results_failed_has_error CHECK (
        status <> 'failed' OR error_code IS NOT NULL)
)"""

_RENDITIONS = """
CREATE TABLE renditions (
    result_id      uuid             NOT NULL REFERENCES results,
    position       integer          NOT NULL CHECK (position >= 0),
    name           text             NOT NULL,
    url            text             NOT NULL,
    media_type     text             NOT NULL,
    sha256         text             NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    bytes          bigint           NOT NULL CHECK (bytes >= 0),
    sample_rate_hz integer          NOT NULL CHECK (sample_rate_hz > 0),
    channels       integer          NOT NULL CHECK (channels > 0),
    frames         bigint           NOT NULL CHECK (frames >= 0),
    duration_s     double precision NOT NULL CHECK (duration_s >= 0),
    after          jsonb            NOT NULL,
    PRIMARY KEY (result_id, name)
)"""

_REJECTED_EVENTS = """
CREATE TABLE rejected_events (
    rejected_id        uuid        PRIMARY KEY,
    topic              text        NOT NULL,
    "partition"        integer     NOT NULL,
    "offset"           bigint      NOT NULL,
    timestamp_ms       bigint,
    sha256             text        NOT NULL,
    headers            jsonb       NOT NULL,
    raw                bytea,
    error_code         text        NOT NULL,
    error_message      text        NOT NULL,
    error_field        text,
    tenant_id          text,
    call_id            text,
    recording_id       text,
    rejected_at        timestamptz NOT NULL DEFAULT now(),
    replayed_at        timestamptz,
    replayed_result_id uuid        REFERENCES results
)"""

_OUTBOX = """
CREATE TABLE outbox (
    outbox_id  bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id   text        NOT NULL UNIQUE,
    result_id  uuid        REFERENCES results,
    topic      text        NOT NULL CHECK (
        topic IN ('call.cleaned', 'call.failed', 'call.rejected', 'call.erased')),
    key        bytea,
    value      bytea       NOT NULL,
    headers    jsonb       NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    sent_at    timestamptz
)"""

# The order in which a claim looks, and the orders in which people look.
_INDEXES = (
    "CREATE INDEX results_due ON results (next_attempt_at, queued_at) WHERE status = 'queued'",
    "CREATE INDEX results_leased ON results (lease_expires_at) WHERE status = 'processing'",
    "CREATE INDEX results_newest ON results (queued_at DESC, result_id DESC)",
    "CREATE INDEX results_newest_by_status ON results (status, queued_at DESC, result_id DESC)",
    "CREATE INDEX results_by_call ON results (call_id text_pattern_ops, queued_at DESC)",
    "CREATE INDEX rejected_events_newest ON rejected_events (rejected_at DESC, rejected_id DESC)",
    "CREATE INDEX rejected_events_by_call ON rejected_events (call_id text_pattern_ops, rejected_at DESC)",
    "CREATE INDEX outbox_unsent ON outbox (outbox_id) WHERE sent_at IS NULL",
)

# The same transitions as agents/status.py; a test compares them.
_TRANSITIONS = """
CREATE FUNCTION results_check_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.status = OLD.status
        OR (OLD.status, NEW.status) IN (
            ('queued', 'processing'), ('queued', 'erased'),
            ('processing', 'queued'), ('processing', 'cleaned'), ('processing', 'failed'), ('processing', 'erased'),
            ('cleaned', 'erased'),
            ('failed', 'queued'), ('failed', 'erased'))
    THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'result %: a % result cannot become %', OLD.result_id, OLD.status, NEW.status
        USING ERRCODE = 'check_violation', CONSTRAINT = 'results_transition';
END $$"""

_TRANSITION_TRIGGER = """
CREATE TRIGGER results_transition BEFORE UPDATE OF status ON results
    FOR EACH ROW EXECUTE FUNCTION results_check_transition()"""

_MEANINGS = {
    "TABLE recordings": "one recording of a call, by its identity in the events",
    "COLUMN recordings.source_url": "as the event gave it, a signature included: fetched, never shown",
    "COLUMN recordings.source_sha256": "as the first event that gave one had it",
    "COLUMN recordings.event_count": "accepted events that named this recording, repeats included",
    "TABLE results": "one result: a recording under one resolved chain; inbox, queue and status in one row",
    "COLUMN results.result_id": "UUIDv5 of tenant, call, recording and chain digest",
    "COLUMN results.chain": "the resolved chain, as the DSP process takes it",
    "COLUMN results.event": "the call.recorded event as it was understood, defaults filled in",
    "COLUMN results.traceparent": "W3C trace context of the event, passed on",
    "COLUMN results.queued_at": "when the event was accepted",
    "COLUMN results.next_attempt_at": "not claimed before; moved on by a retry or a release",
    "COLUMN results.attempts": "attempts of this round that ended with a result or an error; outages, killed workers "
    "and expired leases do not count",
    "COLUMN results.retry_round": "how often somebody asked for another round after a failure",
    "COLUMN results.lease_token": "the fence: a claim takes the next number, an end is taken only with the newest",
    "COLUMN results.lease_expires_at": "by the database's clock; after it anybody may claim",
    "COLUMN results.worker": "who holds the claim",
    "COLUMN results.started_at": "of the newest claim",
    "COLUMN results.error_code": "of the last attempt, also while another is due",
    "COLUMN results.report": "the DSP's report without its renditions",
    "COLUMN results.before_lufs": "programme loudness of the recording",
    "COLUMN results.after_lufs": "programme loudness of the first rendition",
    "COLUMN results.before_noise_floor_dbfs": "of the noisiest channel of the recording",
    "COLUMN results.after_noise_floor_dbfs": "of the noisiest channel of the first rendition",
    "TABLE renditions": "one output object of a result",
    "COLUMN renditions.position": "order of the chain file",
    "COLUMN renditions.sha256": "of the object's bytes",
    "COLUMN renditions.after": "the report's statistics of the output",
    "TABLE rejected_events": "events that could not become a result, with their bytes",
    "COLUMN rejected_events.rejected_id": "UUIDv5 of topic, partition, offset, timestamp and sha256",
    "COLUMN rejected_events.headers": "list of [name, base64 of the value]",
    "COLUMN rejected_events.raw": "the original bytes; null where the event had none",
    "COLUMN rejected_events.call_id": "as far as it could be read, for looking it up",
    "COLUMN rejected_events.replayed_at": "when its bytes were accepted after all",
    "TABLE outbox": "events to send, written with what they tell of, in one transaction",
    "COLUMN outbox.event_id": "the CloudEvents id: the same result always carries the same one",
    "COLUMN outbox.topic": "without TOPIC_PREFIX",
    "COLUMN outbox.headers": "list of [name, text]",
    "COLUMN outbox.sent_at": "when the broker had confirmed it; null: still to send",
    "SEQUENCE lease_tokens": "fences of the claims; never goes back",
}


def upgrade() -> None:
    """Create everything."""
    execute("CREATE SEQUENCE lease_tokens")
    execute(_RECORDINGS, _RESULTS, _RENDITIONS, _REJECTED_EVENTS, _OUTBOX, *_INDEXES)
    execute(_TRANSITIONS, _TRANSITION_TRIGGER)
    for thing, meaning in _MEANINGS.items():
        execute(f"COMMENT ON {thing} IS '{meaning.replace(chr(39), chr(39) * 2)}'")


def downgrade() -> None:
    """Drop everything: every result, rejected event and unsent event is lost."""
    execute(
        "DROP TABLE outbox",
        "DROP TABLE rejected_events",
        "DROP TABLE renditions",
        "DROP TABLE results",
        "DROP TABLE recordings",
        "DROP FUNCTION results_check_transition",
        "DROP SEQUENCE lease_tokens",
    )
