-- lease/main.lua - one slow report, asked for by several processes at once: one of them computes it under a lease, the
-- others wait and get it. Then the holder of a lease is killed: it is replaced as soon as the lease has run out.
--
--     lua5.4 examples/lease/main.lua             an own redis-server; or that of LARDER_REDIS=redis://host:port/db
package.path = arg[0]:gsub("[^/]+/[^/]+$", "") .. "?.lua;" .. package.path
local redis = require "redis"

local folder, remove = redis.folder()
local stop = redis.start(folder)

local function begin(name, key)
    local pipe, pid = redis.program("worker.lua", folder, name, key)
    return { name = name, pipe = pipe, pid = pid }
end

-- Prints a worker's next line.
local function next_of(worker)
    print((assert(worker.pipe:read "*l", worker.name .. " ended")))
end

print "Two ask for the same report:"
local a = begin("A", "report:may")
next_of(a)                     -- asks
next_of(a)                     -- computes: it has the lease
local b = begin("B", "report:may")
next_of(b)                     -- asks, and waits: somebody computes it already
next_of(a)                     -- has it (loaded)
next_of(b)                     -- has it (l2), woken by the bell

print "The holder of the lease is killed:"
local c = begin("C", "report:june")
next_of(c)                     -- asks
next_of(c)                     -- computes
os.execute("kill -9 " .. c.pid)
print "      C is killed"
local d = begin("D", "report:june")
next_of(d)                     -- asks, and waits: the lease of C stands
next_of(d)                     -- computes: C's lease has run out, half a second after it was taken
next_of(d)                     -- has it (loaded)

for _, worker in ipairs { a, b, c, d } do
    worker.pipe:close()
end
stop()
remove()
