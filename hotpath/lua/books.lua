-- Read a bucket's books in one atomic look, for the audit, the fence and the rebuild.
-- KEYS[1]  sluice:{bucket}:sale    hash    stamp, state
-- KEYS[2]  sluice:{bucket}:left    hash    sku -> units still for sale
-- KEYS[3]  sluice:{bucket}:back    hash    sku -> units given back in this epoch
-- KEYS[4]  sluice:{bucket}:claims  stream  c -> facts,key
-- RETURNS  stamp or "", state or "", now in ms, last-generated-id, max-deleted-entry-id, {sku, left, ...}, {sku, back, ...}

local sale = redis.call('HMGET', KEYS[1], 'stamp', 'state')
local time = redis.call('TIME')

-- XINFO fails on a stream that does not exist.
local stream = {}
if redis.call('EXISTS', KEYS[4]) == 1 then
    local info = redis.call('XINFO', 'STREAM', KEYS[4])
    for i = 1, #info, 2 do
        stream[info[i]] = info[i + 1]
    end
end

return {
    sale[1] or '',
    sale[2] or '',
    time[1] * 1000 + math.floor(time[2] / 1000),
    stream['last-generated-id'] or '0-0',
    stream['max-deleted-entry-id'] or '0-0',
    redis.call('HGETALL', KEYS[2]),
    redis.call('HGETALL', KEYS[3]),
}
