-- Read accepted claims after a position, entry by entry, but only where the stamp is the epoch they were accepted in.
-- KEYS[1]  sluice:{bucket}:sale    hash    stamp, written
-- KEYS[2]  sluice:{bucket}:claims  stream  c -> records, a line each; n -> how many, said twice
-- ARGV[1]  stamp     epoch.token
-- ARGV[2]  position  read what comes after it; it is the last one of its entry, or of none
-- ARGV[3]  how many claims, and no more than it takes to finish an entry
-- ARGV[4]  written   how many claims of this epoch are written down; "" says nothing, and writes nothing
-- RETURNS  position of an entry's first claim, records, n, position, records, n ...
-- ERRORS   EPOCH another stamp

local sale = redis.call('HMGET', KEYS[1], 'stamp', 'written')
if sale[1] ~= ARGV[1] then
    return redis.error_reply('EPOCH this bucket bears another stamp')
end
-- A writer that slept tells of long ago.
if ARGV[4] ~= '' and tonumber(ARGV[4]) > (tonumber(sale[2] or '0') or 0) then
    redis.call('HSET', KEYS[1], 'written', ARGV[4])
end

local found, after, claims, claims_max = {}, ARGV[2], 0, tonumber(ARGV[3])
repeat
    local page = redis.call('XRANGE', KEYS[2], '(' .. after, '+', 'COUNT', 8)
    for _, entry in ipairs(page) do
        if claims >= claims_max then
            break
        end
        local fields = entry[2]
        found[#found + 1] = entry[1]
        found[#found + 1] = fields[2]
        found[#found + 1] = fields[4] or ''
        claims = claims + math.max(tonumber(found[#found]:match('^%d+')) or 1, 1)
        after = entry[1]
    end
until #page < 8 or claims >= claims_max
return found
