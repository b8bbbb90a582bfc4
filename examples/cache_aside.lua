-- cache_aside.lua - a repository of users: the program loads and writes, the cache stands beside it.
local larder = require "larder"
local sqlite = require "larder.sqlite"

local file = os.tmpname()
local db = assert(sqlite.open(file, { create = true }))
assert(db:exec [[
    CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT);
    CREATE TABLE posts (id INTEGER PRIMARY KEY, user INTEGER, text TEXT);
    INSERT INTO users VALUES (7, 'Ada');
    INSERT INTO posts (user, text) VALUES (7, 'one'), (7, 'two'), (7, 'three');
]])
local cache = assert(larder.open { pattern = "cache_aside", ttl = 60 })
local users, PAGE = {}, 2

function users.get(id)
    return cache:get("user:" .. id, function()
        return db:query("SELECT * FROM users WHERE id = ?", id)[1]
    end)
end

function users.posts(id, page)
    return cache:get(("posts:%d:%d"):format(id, page), function()
        return db:query("SELECT text FROM posts WHERE user = ? ORDER BY id DESC LIMIT ? OFFSET ?",
            id, PAGE, (page - 1) * PAGE)
    end)
end

-- The keys of all that shows this user: the user, and every page of posts (with room for one post more).
local function keys_of(id)
    local keys = { "user:" .. id }
    local n = db:query("SELECT count(*) AS n FROM posts WHERE user = ?", id)[1].n
    for page = 1, math.ceil((n + 1) / PAGE) do
        keys[#keys + 1] = ("posts:%d:%d"):format(id, page)
    end
    return keys
end

-- cache:write brackets the program's own writing: while it runs nobody can fill an old value in, after it all the
-- keys are forgotten, also when the function raises.
function users.add_post(id, text)
    return cache:write(keys_of(id), function()
        return db:query("INSERT INTO posts (user, text) VALUES (?, ?)", id, text)
    end)
end

local function show(page)
    local posts, _, outcome = users.posts(7, page)
    print(("page %d (%s): %s"):format(page, outcome, posts[1].text .. (posts[2] and ", " .. posts[2].text or "")))
end
print(users.get(7).name, select(3, users.get(7)))        --> Ada  l1
show(1) show(2) show(1)                                  -- loaded, loaded, l1
assert(users.add_post(7, "four"))
show(1) show(2)                                          -- both anew: every page has moved on by one

cache:close()
db:close()
os.remove(file)
