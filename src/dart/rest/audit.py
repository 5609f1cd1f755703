"""The audit: who did what when."""

from dart.rest import schemas
from dart.rest.call import Answer, Call


async def list_all(call: Call) -> Answer:
    """`GET /audit/`: who did what, oldest first, page by page; or the newest entries first."""
    wanted = await call.members(schemas.AuditPage)
    amount = schemas.integer(wanted.amount, "amount", minimum=1, maximum=call.limits.page_items_max, clamp=True)
    rows = await call.gateway.audit.rows(
        after=schemas.integer(wanted.after, "after"), amount=amount, newest_first=schemas.flag(wanted.newest, "newest")
    )
    entries = [
        {
            "id": str(row.sequence),
            "at": row.entry.at_ms,
            "who": row.entry.who,
            "what": row.entry.what,
            "target": row.entry.target,
            "outcome": row.entry.outcome,
            "address": row.entry.address,
            "request": row.entry.request_id,
        }
        for row in rows
    ]
    answer = call.answer(audit=entries)
    if len(rows) >= amount:
        answer["next"] = entries[-1]["id"]
    return answer
