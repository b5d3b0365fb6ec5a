-- Look at a bucket: may it sell, what changed what is left, and are these SKUs gone?
-- KEYS[1]    sluice:{bucket}:sale       hash  stamp, state, opens_at_ms, closes_at_ms, freed
-- KEYS[2]    sluice:{bucket}:left       hash  sku -> units still for sale
-- KEYS[3]    sluice:{bucket}:limits     hash  sku -> units one member may hold
-- KEYS[4]    sluice:{bucket}:answers    hash  member:key -> position,facts
-- KEYS[5]    sluice:{bucket}:transfers  hash  transfer -> units
-- ARGV[1..]  sku
-- RETURNS    stamp or "", 1 open or 0, and of this epoch: units that came back, keys that have an answer,
--            transfers; {left or false, limit or false ...}, a pair a SKU

local sale = redis.call('HMGET', KEYS[1], 'stamp', 'state', 'opens_at_ms', 'closes_at_ms', 'freed')
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local opens_at_ms, closes_at_ms = tonumber(sale[3] or ''), tonumber(sale[4] or '')
local open = sale[2] == 'open' and opens_at_ms and closes_at_ms and opens_at_ms <= now_ms and now_ms < closes_at_ms

local shelves = {}
for i = 1, #ARGV do
    shelves[#shelves + 1] = redis.call('HGET', KEYS[2], ARGV[i])
    shelves[#shelves + 1] = redis.call('HGET', KEYS[3], ARGV[i])
end
return {
    sale[1] or '',
    open and 1 or 0,
    tonumber(sale[5] or 0),
    redis.call('HLEN', KEYS[4]),
    redis.call('HLEN', KEYS[5]),
    shelves,
}
