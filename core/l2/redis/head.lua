-- head.lua - what every script begins with. KEYS[1] is a cell, KEYS[2] the bell, ARGV[1] always the asker's origin; the rest
-- is said in each script. The functions of cell.lua stand where a script has a line for them: what most often happens is
-- done before, for making the functions is a good part of what a script costs the server.
--
-- Rules that hold in all scripts:
--   Numbers. Versions and floors are strings of 19 digits and compared as strings: a number here is a double. Times are
--     numbers, microseconds of the server's own clock, below 9 * 10^15; what would be above is "never".
--   What is over is not there. open() gives a lease or mark whose end has come (or is more than an hour ahead: the clock
--     was set back) as nobody's, so that a token that is not ZERO stands.
--   What cannot be read is not there. A key of another type and a damaged head are deleted and counted: for a cell that is
--     missing every rule holds already, as Redis may evict it at any time.
--   A value whose version is below the floor is never kept. So the floor of a drawn version is that version.
--   The bell rings before the cell is written: an error in between (no memory, no right) leaves the cell as it was, and
--     those who heard of a change that was not made only look again.
--   A cell lives at least a second longer than its lease and mark; a head that says nothing is deleted.
--
-- A reply is { state, server's time, version, extra, damaged [, cell] }; the states are those of enum ldr_l2_state.
local HELD, LEASED, TAKEN, MARKED, DONE, REFUSED, CONFLICT = 1, 2, 3, 4, 5, 6, 7
local ZERO, NONE, NEVER = '0000000000000000', '0000000000000000000', '9999999999999999'
local HEAD, AHEAD = 200, 3600000000
local key, bell, origin = KEYS[1], KEYS[2], ARGV[1]
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local damaged = 0
