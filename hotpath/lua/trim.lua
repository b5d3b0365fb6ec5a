-- Drop accepted claims that were written down long ago, but only in the epoch that wrote them down.
-- KEYS[1]  sluice:{bucket}:sale    hash    stamp
-- KEYS[2]  sluice:{bucket}:claims  stream  c -> records, a line each; n -> how many, said twice
-- ARGV[1]  stamp     epoch.token
-- ARGV[2]  position  drop what comes before the entry that holds it
-- RETURNS  how many entries were dropped, or -1: another epoch stands there

if redis.call('HGET', KEYS[1], 'stamp') ~= ARGV[1] then
    return -1
end
-- With the entry that holds a cursor still there, nothing above the cursor can seem to be gone.
local holder = redis.call('XREVRANGE', KEYS[2], ARGV[2], '-', 'COUNT', 1)[1]
return holder and redis.call('XTRIM', KEYS[2], 'MINID', '=', holder[1]) or 0
