-- Put units that came from another bucket of the sale up for sale here, once a transfer.
-- KEYS[1]  sluice:{bucket}:sale         hash  stamp, freed
-- KEYS[2]  sluice:{bucket}:left         hash  sku -> units still for sale
-- KEYS[3]  sluice:{bucket}:transfers    hash  transfer -> units, in this epoch
-- KEYS[4]  sluice:{bucket}:transferred  hash  sku -> units that came less units that went, in this epoch
-- ARGV[1]  stamp     epoch.token
-- ARGV[2]  transfer
-- ARGV[3]  sku
-- ARGV[4]  units     int, 1 to 10^12
-- RETURNS  1 put, 0 already was, -1 another epoch
-- ERRORS   TRANSFER a malformed argument, DAMAGED books that cannot be right: both before any write

local function is_integer(text, digits)
    return #text <= digits and (text == '0' or text:find('^[1-9]%d*$') ~= nil)
end

local function is_id(text)
    return #text <= 19 and text:find('^[1-9]%d*$') ~= nil
end

local transfer, sku, units = ARGV[2], ARGV[3], ARGV[4]
if not (is_id(transfer) and is_id(sku) and is_integer(units, 13) and tonumber(units) >= 1) then
    return redis.error_reply('TRANSFER malformed argument')
end

if redis.call('HGET', KEYS[1], 'stamp') ~= ARGV[1] then
    return -1
end
if redis.call('HEXISTS', KEYS[3], transfer) == 1 then
    return 0
end

local left = redis.call('HGET', KEYS[2], sku) or ''
local net = redis.call('HGET', KEYS[4], sku) or '0'
if not (is_integer(left, 15) and is_integer(net:gsub('^%-', '', 1), 15)) then
    return redis.error_reply('DAMAGED a count is not an integer')
end

redis.call('HSET', KEYS[3], transfer, units)
redis.call('HINCRBY', KEYS[2], sku, units)
redis.call('HINCRBY', KEYS[4], sku, units)
-- Whoever believes that nothing is left is wrong from here on.
redis.call('HINCRBY', KEYS[1], 'freed', units)
return 1
