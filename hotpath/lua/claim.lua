-- Decide claims for units of one bucket, in the order given; accept what stock, limits and window allow.
-- KEYS[1]    sluice:{bucket}:sale     hash    stamp, state, opens_at_ms, closes_at_ms, accepted, written
-- KEYS[2]    sluice:{bucket}:left     hash    sku -> units still for sale
-- KEYS[3]    sluice:{bucket}:limits   hash    sku -> units one member may hold
-- KEYS[4]    sluice:{bucket}:members  hash    sku:member -> units held
-- KEYS[5]    sluice:{bucket}:answers  hash    member:key -> position,facts
-- KEYS[6]    sluice:{bucket}:claims   stream  c -> records, a line each; n -> how many, said twice
-- ARGV[1]    stamp        epoch.token
-- ARGV[2]    backlog max  int; accepted claims that may wait to be written down
-- ARGV[3..]  one a claim, 2,000 at the most: its record, 2,epoch,member,sku,quantity,key id,crc,key
-- RETURNS    lines: the position of the first claim accepted now, or -; then one a claim: + accepted, at that position
--            or the next one up; =position,facts seen before; w not open; b backlog full; n no such sku; l member limit;
--            s<left> too few left; x damaged books. Only + writes.
-- ERRORS     EPOCH another stamp, CLAIM a malformed argument: both before any write

-- Lua loses integers above 2^53: ids stay text, and what we count with stays below 10^15.
local function is_count(text)
    return #text <= 15 and (text == '0' or text:find('^[1-9]%d*$') ~= nil)
end

local sale = redis.call('HMGET', KEYS[1], 'stamp', 'state', 'opens_at_ms', 'closes_at_ms', 'accepted', 'written')
if sale[1] ~= ARGV[1] then
    return redis.error_reply('EPOCH this bucket bears another stamp')
end

local epoch = ARGV[1]:match('^(%d+)%.')
if not epoch or not is_count(ARGV[2]) or #ARGV < 3 or #ARGV > 2002 then
    return redis.error_reply('CLAIM malformed batch')
end

-- A batch is looked up and written down by a few commands, however many claims it has.
local id, key_id, crc = '([1-9]%d*)', '[1-9]' .. ('%d?'):rep(8), ('[0-9a-f]'):rep(8)
local pattern = '^(2,' .. table.concat({epoch, id, id, id, key_id, crc}, ',') .. '),([ -~]+)$'
local facts, skus, quantities, clicks, holders, shelves, on_shelf = {}, {}, {}, {}, {}, {}, {}
for i = 3, #ARGV do
    local n = i - 2
    local fact, member, sku, quantity, key = ARGV[i]:match(pattern)
    local units = tonumber(quantity)
    if not fact or #member > 19 or #sku > 19 or units > 1000000 or #quantity > 7 or #key > 64 then
        return redis.error_reply('CLAIM malformed claim at argument ' .. i)
    end
    facts[n], skus[n], quantities[n] = fact, sku, units
    clicks[n], holders[n] = member .. ':' .. key, sku .. ':' .. member
    if not on_shelf[sku] then
        shelves[#shelves + 1] = sku
        on_shelf[sku] = true
    end
end

-- Every read comes before the first write, so a key of a wrong type stops a claim before it starts.
local function look_up(key, fields)
    local found, values = {}, redis.call('HMGET', key, unpack(fields))
    for n = 1, #fields do
        found[fields[n]] = values[n]
    end
    return found
end

local seen, held = look_up(KEYS[5], clicks), look_up(KEYS[4], holders)
local left, limits = look_up(KEYS[2], shelves), look_up(KEYS[3], shelves)

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local opens_at_ms, closes_at_ms = tonumber(sale[3] or ''), tonumber(sale[4] or '')
local open = sale[2] == 'open' and opens_at_ms and closes_at_ms and opens_at_ms <= now_ms and now_ms < closes_at_ms
local accepted, written = sale[5] or '0', sale[6] or '0'
local counted = is_count(accepted) and is_count(written)
local room = counted and ARGV[2] - (accepted - written)

-- A count is the text that Redis keeps, until the first claim of this batch changes it.
local function is_sound(left_now, limit, held_now)
    return (type(left_now) == 'number' or is_count(left_now))
        and (type(held_now) == 'number' or is_count(held_now))
        and limit
        and is_count(limit)
end

local taken, records = 0, {}

local function decide(n)
    local answer = seen[clicks[n]]
    if type(answer) == 'number' then
        return answer
    end
    if answer then
        return answer:find('\n', 1, true) and 'x' or '=' .. answer
    end
    if not open then
        return 'w'
    end
    if not counted then
        return 'x'
    end
    if taken >= room then
        return 'b'
    end
    local sku, quantity, holder = skus[n], quantities[n], holders[n]
    local units = left[sku]
    if not units then
        return 'n'
    end
    local limit, mine = limits[sku], held[holder] or '0'
    if not is_sound(units, limit, mine) then
        return 'x'
    end
    if mine + quantity > tonumber(limit) then
        return 'l'
    end
    if tonumber(units) < quantity then
        return ('s%.0f'):format(units)
    end
    taken = taken + 1
    records[taken] = ARGV[n + 2]
    left[sku], held[holder], seen[clicks[n]] = units - quantity, mine + quantity, taken
    return '+'
end

local verdicts = {'-'}
for n = 1, #facts do
    verdicts[n + 1] = decide(n)
end
if taken == 0 then
    return table.concat(verdicts, '\n')
end

-- Each claim has a position of its own: the entry's id is that of the first, and the others follow it.
-- How many they are is said twice, so that a damaged number is known for one.
local position = redis.call('XADD', KEYS[6], '*', 'c', table.concat(records, '\n'), 'n', taken .. ',' .. taken)
local ms, seq = position:match('^(%d+%-)(%d+)$')
if taken > 1 then
    redis.call('XSETID', KEYS[6], ms .. seq + taken - 1)
end

local answers, holdings, stock = {}, {}, {}
for n = 1, #facts do
    local verdict = verdicts[n + 1]
    if verdict == '+' then
        local at = #answers + 1
        answers[at] = clicks[n]
        answers[at + 1] = ms .. seq + seen[clicks[n]] - 1 .. ',' .. facts[n]
        holdings[at] = holders[n]
        holdings[at + 1] = held[holders[n]]
    elseif type(verdict) == 'number' then
        verdicts[n + 1] = '=' .. answers[2 * verdict]
    end
end
for _, sku in ipairs(shelves) do
    if type(left[sku]) == 'number' then
        stock[#stock + 1] = sku
        stock[#stock + 1] = left[sku]
    end
end
redis.call('HSET', KEYS[5], unpack(answers))
redis.call('HSET', KEYS[4], unpack(holdings))
redis.call('HSET', KEYS[2], unpack(stock))
redis.call('HINCRBY', KEYS[1], 'accepted', taken)
verdicts[1] = position
return table.concat(verdicts, '\n')
