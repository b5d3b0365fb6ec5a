-- Decide claims for units of one bucket, in the order given; accept what stock, limits and window allow.
-- KEYS[1]    sluice:{bucket}:sale     hash    stamp, state, opens_at_ms, closes_at_ms
-- KEYS[2]    sluice:{bucket}:left     hash    sku -> units still for sale
-- KEYS[3]    sluice:{bucket}:limits   hash    sku -> units one member may hold
-- KEYS[4]    sluice:{bucket}:members  hash    sku:member -> units held
-- KEYS[5]    sluice:{bucket}:answers  hash    member:key -> position,facts
-- KEYS[6]    sluice:{bucket}:claims   stream  c -> facts,key
-- ARGV[1]    stamp        epoch.token
-- ARGV[2]    backlog max  int; accepted claims that the stream may hold
-- ARGV[3..]  five a claim: member, key, sku, quantity (int, 1 to 1,000,000), facts
-- RETURNS    one string a claim: =position,facts seen before; +position accepted; w not open; b backlog full;
--            n no such sku; l member limit; s<left> too few left; x damaged books. Only + writes.
-- ERRORS     EPOCH another stamp, CLAIM a malformed argument: both before any write

-- Lua loses integers above 2^53: ids stay text, and what we count with stays below 10^15.
local function is_integer(text, digits)
    return #text <= digits and (text == '0' or text:find('^[1-9]%d*$') ~= nil)
end

local function is_id(text)
    return #text <= 19 and text:find('^[1-9]%d*$') ~= nil
end

local function is_well_formed(epoch, member, key, sku, quantity, facts)
    return is_id(member)
        and is_id(sku)
        and is_integer(quantity, 7)
        and tonumber(quantity) >= 1
        and tonumber(quantity) <= 1000000
        and #key <= 64
        and key:find('^[ -~]+$') ~= nil
        -- The record must say what we are about to deduct.
        and facts:find('^1,' .. table.concat({epoch, member, sku, quantity}, ',') .. ',%d+,%x%x%x%x%x%x%x%x$') ~= nil
end

local sale = redis.call('HMGET', KEYS[1], 'stamp', 'state', 'opens_at_ms', 'closes_at_ms')
if sale[1] ~= ARGV[1] then
    return redis.error_reply('EPOCH this bucket bears another stamp')
end

local epoch = ARGV[1]:match('^(%d+)%.')
if not epoch or not is_integer(ARGV[2], 15) or (#ARGV - 2) % 5 ~= 0 then
    return redis.error_reply('CLAIM malformed batch')
end
for i = 3, #ARGV, 5 do
    if not is_well_formed(epoch, ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]) then
        return redis.error_reply('CLAIM malformed claim at argument ' .. i)
    end
end

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local opens_at_ms, closes_at_ms = tonumber(sale[3] or ''), tonumber(sale[4] or '')
local open = sale[2] == 'open' and opens_at_ms and closes_at_ms and opens_at_ms <= now_ms and now_ms < closes_at_ms
local room = tonumber(ARGV[2]) - redis.call('XLEN', KEYS[6])

-- Every read comes before the first write, so a key of a wrong type stops a claim before it starts.
local function decide(member, key, sku, quantity, facts)
    local seen = redis.call('HGET', KEYS[5], member .. ':' .. key)
    if seen then
        return '=' .. seen
    end
    if not open then
        return 'w'
    end
    if room <= 0 then
        return 'b'
    end
    local left = redis.call('HGET', KEYS[2], sku)
    if not left then
        return 'n'
    end
    local limit = redis.call('HGET', KEYS[3], sku) or ''
    local held = redis.call('HGET', KEYS[4], sku .. ':' .. member) or '0'
    if not (is_integer(left, 15) and is_integer(limit, 15) and is_integer(held, 15)) then
        return 'x'
    end
    if held + quantity > tonumber(limit) then
        return 'l'
    end
    if tonumber(left) < tonumber(quantity) then
        return 's' .. left
    end
    local position = redis.call('XADD', KEYS[6], '*', 'c', facts .. ',' .. key)
    redis.call('HINCRBY', KEYS[2], sku, '-' .. quantity)
    redis.call('HINCRBY', KEYS[4], sku .. ':' .. member, quantity)
    redis.call('HSET', KEYS[5], member .. ':' .. key, position .. ',' .. facts)
    room = room - 1
    return '+' .. position
end

local verdicts = {}
for i = 3, #ARGV, 5 do
    verdicts[#verdicts + 1] = decide(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4])
end
return verdicts
