"""Every role of `sluice work`, and what each needs."""

from functools import partial

from core import payments, staff, webhooks
from core.flows import give_back, refund, relist, settle_late, void_payment
from core.jobs import (
    auditor,
    conductor,
    courier,
    dispatcher,
    expirer,
    exporter,
    fence,
    herald,
    importer,
    notary,
    order_writer,
    outbox_relay,
    rebalancer,
    reconciler,
    statement_taker,
)
from core.jobs.role import Role
from core.kit import db
from hotpath.nodes import Redis
from hotpath.receipts import Keyring


def roles(
    pool: db.Pool,
    redis: Redis,
    keyring: Keyring,
    channels: payments.Channels,
    sender: webhooks.Sender,
    *,
    backlog_max: int,
) -> list[Role]:
    handlers = {
        give_back.TOPIC: partial(give_back.give_back, pool, redis),
        settle_late.TOPIC: partial(
            settle_late.settle_late, pool, redis, keyring, backlog_max=backlog_max
        ),
        refund.TOPIC: partial(refund.refund, pool, channels),
        refund.KEPT_TOPIC: partial(refund.refund_kept, pool, channels),
        void_payment.TOPIC: partial(void_payment.void_payment, pool, channels),
        relist.TOPIC: partial(relist.relist, pool),
    }
    relay = outbox_relay.OutboxRelay(pool, handlers)
    writer = order_writer.OrderWriter(pool, redis, keyring)
    looking = reconciler.Reconciler(pool, channels)
    sending = courier.Courier(pool, sender, webhooks.Keys(keyring.signers))
    return [
        Role("order_writer", writer.step, order_writer.REST_S),
        Role("expirer", expirer.Expirer(pool).step, expirer.REST_S),
        Role("outbox_relay", relay.step, outbox_relay.REST_S, relay.end),
        Role("auditor", auditor.Auditor(pool, redis).step, auditor.REST_S),
        Role("fence", fence.Fence(pool, redis).step, fence.REST_S),
        Role("conductor", conductor.Conductor(pool, redis).step, conductor.REST_S),
        Role("dispatcher", dispatcher.Dispatcher(pool).step, dispatcher.REST_S),
        Role("exporter", exporter.Exporter(pool).step, exporter.REST_S),
        Role("importer", importer.Importer(pool).step, importer.REST_S),
        Role("notary", notary.Notary(pool, staff.Sealer(keyring.signers)).step, notary.REST_S),
        Role("reconciler", looking.step, reconciler.REST_S, looking.end),
        Role("herald", herald.Herald(pool).step, herald.REST_S),
        Role("courier", sending.step, courier.REST_S, sending.end),
        Role("rebalancer", rebalancer.Rebalancer(pool, redis).step, rebalancer.REST_S),
        Role(
            "statement_taker",
            statement_taker.StatementTaker(pool, channels).step,
            statement_taker.REST_S,
        ),
    ]
