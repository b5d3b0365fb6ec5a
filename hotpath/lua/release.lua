-- Give an order's units back to its bucket, at most once, while the bucket's epoch lasts.
-- KEYS[1]  sluice:{bucket}:sale      hash  stamp, state, freed
-- KEYS[2]  sluice:{bucket}:left      hash  sku -> units still for sale
-- KEYS[3]  sluice:{bucket}:members   hash  sku:member -> units held
-- KEYS[4]  sluice:{bucket}:returned  set   order ids already given back in this epoch
-- KEYS[5]  sluice:{bucket}:back      hash  sku -> units given back in this epoch
-- ARGV[1]  stamp     epoch.token
-- ARGV[2]  order id
-- ARGV[3]  sku
-- ARGV[4]  member
-- ARGV[5]  quantity  int, 1 to 1,000,000
-- RETURNS  1 given back, 0 already was, -1 another epoch, -2 sale closed (nothing changed)
-- ERRORS   RELEASE a malformed argument, DAMAGED books that cannot be right: both before any write

local function is_integer(text, digits)
    return #text <= digits and (text == '0' or text:find('^[1-9]%d*$') ~= nil)
end

local function is_id(text)
    return #text <= 19 and text:find('^[1-9]%d*$') ~= nil
end

local order, sku, member, quantity = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
if not (order:find('^[%x-]+$') and is_id(sku) and is_id(member) and is_integer(quantity, 7)) then
    return redis.error_reply('RELEASE malformed argument')
end
if tonumber(quantity) < 1 or tonumber(quantity) > 1000000 then
    return redis.error_reply('RELEASE quantity out of bounds')
end

local sale = redis.call('HMGET', KEYS[1], 'stamp', 'state')
if sale[1] ~= ARGV[1] then
    return -1
end
if redis.call('SISMEMBER', KEYS[4], order) == 1 then
    return 0
end
if sale[2] == 'closed' then
    return -2
end

local left = redis.call('HGET', KEYS[2], sku) or ''
local held = redis.call('HGET', KEYS[3], sku .. ':' .. member) or '0'
local back = redis.call('HGET', KEYS[5], sku) or '0'
if not (is_integer(left, 15) and is_integer(held, 15) and is_integer(back, 15)) then
    return redis.error_reply('DAMAGED a count is not an integer')
end
if tonumber(held) < tonumber(quantity) then
    return redis.error_reply('DAMAGED the member holds fewer units than the order has')
end

redis.call('SADD', KEYS[4], order)
-- Whoever makes units available says so in the same call: workers refuse by this count.
redis.call('HINCRBY', KEYS[1], 'freed', quantity)
redis.call('HINCRBY', KEYS[2], sku, quantity)
redis.call('HINCRBY', KEYS[3], sku .. ':' .. member, '-' .. quantity)
redis.call('HINCRBY', KEYS[5], sku, quantity)
return 1
