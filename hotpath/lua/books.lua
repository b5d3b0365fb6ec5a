-- Read a bucket's books in one atomic look, for the audit, the fence and the rebuild.
-- KEYS[1]  sluice:{bucket}:sale    hash    stamp, state, accepted
-- KEYS[2]  sluice:{bucket}:left    hash    sku -> units still for sale
-- KEYS[3]  sluice:{bucket}:back    hash    sku -> units given back in this epoch
-- KEYS[4]  sluice:{bucket}:claims  stream
-- KEYS[5]  sluice:{bucket}:transferred  hash  sku -> units that came less units that went, in this epoch
-- RETURNS  stamp or "", state or "", now in ms, position of the last claim, highest id that may have been removed,
--          {sku, left, ...}, {sku, back, ...}, {sku, transferred, ...}, claims accepted in this epoch;
--          a stream that does not exist gives 0-0, 0-0

local sale = redis.call('HMGET', KEYS[1], 'stamp', 'state', 'accepted')
local time = redis.call('TIME')

local function parts(id)
    local ms, seq = id:match('^(%d+)-(%d+)$')
    return tonumber(ms), tonumber(seq)
end

-- The id right below; an entry's number never comes near the bounds of a Lua number.
local function below(id)
    local ms, seq = parts(id)
    if seq > 0 then
        return ('%.0f-%.0f'):format(ms, seq - 1)
    end
    return ('%.0f-18446744073709551615'):format(ms - 1)
end

local function higher(one, other)
    local ms, seq = parts(one)
    local other_ms, other_seq = parts(other)
    return (ms > other_ms or (ms == other_ms and seq > other_seq)) and one or other
end

-- max-deleted-entry-id tells of XDEL alone. XTRIM removes from the front, so once anything is gone,
-- all below the first entry may be.
local function removed(stream)
    if stream['length'] == stream['entries-added'] then
        return '0-0'
    end
    if stream['length'] == 0 then
        return stream['last-generated-id']
    end
    return higher(stream['max-deleted-entry-id'], below(stream['recorded-first-entry-id']))
end

-- XINFO fails on a stream that does not exist.
local stream = {['length'] = 0, ['entries-added'] = 0, ['last-generated-id'] = '0-0'}
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
    stream['last-generated-id'],
    removed(stream),
    redis.call('HGETALL', KEYS[2]),
    redis.call('HGETALL', KEYS[3]),
    redis.call('HGETALL', KEYS[5]),
    sale[3] or '0',
}
