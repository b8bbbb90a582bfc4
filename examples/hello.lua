-- hello.lua - the shortest use of Larder: an in-process cache, no server, no database.
local larder = require "larder"

local cache = assert(larder.open { ttl = 60 })

-- What is not held comes from the loader, once; then it is a hit.
local function slow_square(key)
    print("computing the square of " .. key)
    return { square = tonumber(key) ^ 2 }
end
local value, err, outcome = cache:get("12", slow_square)
print(value.square, err, outcome) --> 144.0  nil  loaded
value, err, outcome = cache:get("12", slow_square)
print(value.square, err, outcome) --> 144.0  nil  l1

-- Any value goes in by hand, too: numbers, strings, tables, false.
cache:set("greeting", "hello, world")
print(cache:get "greeting")       --> hello, world  nil  l1
cache:delete "greeting"
print(cache:get "greeting")       --> nil  nil  miss

-- Trouble comes back as an error object with a stable code; nothing is raised.
value, err = cache:get("12x", function()
    return nil, "not a number"
end)
print(value, err.code)            --> nil  loader

cache:close()
