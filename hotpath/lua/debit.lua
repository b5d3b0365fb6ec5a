-- Take units out of a bucket for another bucket of the sale: only what is left, and once a transfer.
-- KEYS[1]  sluice:{bucket}:sale         hash  stamp, state
-- KEYS[2]  sluice:{bucket}:left         hash  sku -> units still for sale
-- KEYS[3]  sluice:{bucket}:transfers    hash  transfer -> units, in this epoch
-- KEYS[4]  sluice:{bucket}:transferred  hash  sku -> units that came less units that went, in this epoch
-- ARGV[1]  stamp      epoch.token
-- ARGV[2]  transfer
-- ARGV[3]  sku
-- ARGV[4]  units max  int, 1 to 10^12
-- RETURNS  units taken, now or before; 0 where none is left or the sale is closed; -1 another epoch
-- ERRORS   TRANSFER a malformed argument, DAMAGED books that cannot be right: both before any write

local function is_integer(text, digits)
    return #text <= digits and (text == '0' or text:find('^[1-9]%d*$') ~= nil)
end

local function is_id(text)
    return #text <= 19 and text:find('^[1-9]%d*$') ~= nil
end

local transfer, sku, most = ARGV[2], ARGV[3], ARGV[4]
if not (is_id(transfer) and is_id(sku) and is_integer(most, 13) and tonumber(most) >= 1) then
    return redis.error_reply('TRANSFER malformed argument')
end

local sale = redis.call('HMGET', KEYS[1], 'stamp', 'state')
if sale[1] ~= ARGV[1] then
    return -1
end
local before = redis.call('HGET', KEYS[3], transfer)
if before then
    return tonumber(before)
end
if sale[2] == 'closed' then
    return 0
end

local left = redis.call('HGET', KEYS[2], sku) or ''
local net = redis.call('HGET', KEYS[4], sku) or '0'
if not (is_integer(left, 15) and is_integer(net:gsub('^%-', '', 1), 15)) then
    return redis.error_reply('DAMAGED a count is not an integer')
end
local units = tonumber(left) < tonumber(most) and left or most

-- That there was nothing is remembered, too: who asks late must not take what came since.
redis.call('HSET', KEYS[3], transfer, units)
if units ~= '0' then
    redis.call('HINCRBY', KEYS[2], sku, '-' .. units)
    redis.call('HINCRBY', KEYS[4], sku, '-' .. units)
end
return tonumber(units)
