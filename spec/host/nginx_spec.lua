-- nginx_spec.lua - the host inside nginx, driven from outside: a real nginx with one worker, started here in a folder
-- of its own, asked by curl. The timer's lateness is shown; with LARDER_PROVE=1 it must be 10 ms at most.
--
-- Other programs on the machine make a timer late too, so an idle worker's is shown beside, and a round may be
-- repeated; a worker that was blocked would be late by a whole job in every round.

local cjson = require "cjson"
local sqlite = require "larder.sqlite"

local prove = os.getenv("LARDER_PROVE") ~= nil
local root = assert(io.popen("pwd")):read("*l")

local function run(command)
    local p = assert(io.popen(command .. " 2>&1"))
    local text = p:read("*a")
    p:close()
    return text
end

local function read(file)
    local f = io.open(file)
    local text = f and f:read("*a")
    if f then
        f:close()
    end
    return text
end

local function write(file, text)
    local f = assert(io.open(file, "w"))
    f:write(text)
    f:close()
end

local conf = [[
load_module /usr/lib/nginx/modules/ndk_http_module.so;
load_module /usr/lib/nginx/modules/ngx_http_lua_module.so;
USER
worker_processes 1;
pid nginx.pid;
error_log error.log notice;
env LARDER_SPEC_BUG;
env LARDER_SPEC_COUNT;
env TMPDIR;
events { worker_connections 512; }
http {
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    lua_package_path "ROOT/spec/host/?.lua;ROOT/lua/?.lua;ROOT/lua/?/init.lua;;";
    lua_package_cpath "ROOT/build/luajit/?.so;;";
    lua_socket_log_errors on;
    init_by_lua_block { require "nginx_app" }
    server {
        listen unix:FOLDER/http.sock;
        location = /phases {
            set_by_lua_block $nothing { return require("nginx_app").phase() }
            content_by_lua_block { require("nginx_app").phases() }
            header_filter_by_lua_block { require("nginx_app").phase() }
            body_filter_by_lua_block { if ngx.arg[2] then require("nginx_app").phase() end }
            log_by_lua_block { require("nginx_app").phase() }
        }
        location / { content_by_lua_block { require("nginx_app")[ngx.var.uri:sub(2)]() } }
    }
}
]]

local started = {} -- and not ended yet: whatever a test came to
local nginx = {}
nginx.__index = nginx

local function until_true(seconds, what)
    local deadline = os.time() + seconds
    repeat
        local got = what()
        if got then
            return got
        end
        os.execute("sleep 0.02")
    until os.time() > deadline
end

-- Starts nginx with this configuration and environment; answers when it can be asked.
local function start(text, environment)
    local self = setmetatable({ folder = run("mktemp -d"):match("%S+") }, nginx)
    local db = assert(sqlite.open(self.folder .. "/shop.db", { create = true }))
    assert(db:exec [[
        PRAGMA journal_mode = WAL;
        CREATE TABLE products (id INTEGER PRIMARY KEY, title TEXT, cents INTEGER, version INTEGER DEFAULT 1);
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1000)
            INSERT INTO products (id, title, cents) SELECT i, 'product ' || i, i * 100 FROM n;
    ]])
    db:close()
    local user = run("id -u"):match("^0") and "user root;" or ""
    text = text:gsub("USER", user):gsub("ROOT", root):gsub("FOLDER", self.folder)
    write(self.folder .. "/nginx.conf", text)
    local command = [[
        cd FOLDER && mkdir -p build/nginx tmp || exit
        (env TMPDIR=FOLDER/tmp ENVIRONMENT nginx -p FOLDER/ -c nginx.conf -g 'daemon off;' >out 2>&1; echo $? >code) \
            >/dev/null 2>&1 </dev/null &]]
    os.execute((command:gsub("FOLDER", self.folder):gsub("ENVIRONMENT", environment or "")))
    local up = until_true(10, function()
        return read(self.folder .. "/code") or read(self.folder .. "/nginx.pid") and run(self:url("pid")) ~= ""
    end)
    if not up or read(self.folder .. "/code") then
        error("nginx did not start: " .. run(("cat %s/out %s/error.log"):format(self.folder, self.folder)))
    end
    started[#started + 1] = self
    return self
end

function nginx:url(path)
    return ("curl -s -m 120 --unix-socket %s/http.sock 'http://n/%s'"):format(self.folder, path)
end

function nginx:ask(path)
    local text = run(self:url(path))
    local fine, t = pcall(cjson.decode, text)
    return fine and t or error(path .. " gave: " .. text .. run("tail -c 3000 " .. self.folder .. "/error.log"))
end

function nginx:signal(name)
    os.execute(("kill -%s $(cat %s/nginx.pid)"):format(name, self.folder))
end

-- Ends nginx; gives its exit code and the lines of its log that are worse than a notice.
function nginx:stop(name)
    if not read(self.folder .. "/code") then
        self:signal(name or "QUIT")
    end
    local code = until_true(20, function()
        return read(self.folder .. "/code")
    end)
    local bad = {}
    for line in (read(self.folder .. "/error.log") or ""):gmatch("[^\n]+") do
        if line:find("%[%a+%]") and not line:find("[notice]", 1, true) then
            bad[#bad + 1] = line
        end
    end
    local left = run("ls -A " .. self.folder .. "/tmp")
    os.execute("rm -rf " .. self.folder)
    self.ended = true
    return tonumber(code), table.concat(bad, "\n"), left
end

local function ended_well(server, name)
    local code, bad, left = server:stop(name)
    assert.equal(0, code)
    assert.equal("", bad)
    assert.equal("", left)
end

describe("the host inside nginx", function()
    local server

    lazy_setup(function()
        server = start(conf, "LARDER_SPEC_COUNT=" .. (os.getenv("LARDER_SPEC_COUNT") or "60000"))
    end)

    lazy_teardown(function()
        ended_well(server)
    end)

    it("opens in the master, where hits answer and a miss says that it cannot wait", function()
        local t = server:ask("init")
        assert.equal("unsupported", t.missed.code)
        assert.matches("phase init:", t.missed.message)
        assert.equal("miss", t.outcome) -- each worker has a shelf of its own
    end)

    it("reads through SQLite, then from memory", function()
        assert.equal("miss", server:ask("peek?key=product:7").outcome)
        local t = server:ask("get?key=product:7")
        assert.equal("loaded", t.outcome)
        assert.equal("product 7", t.value.title)
        assert.equal("l1", server:ask("get?key=product:7").outcome)
        assert.equal("product 7", server:ask("peek?key=product:7").value.title)
        assert.equal("absent", server:ask("get?key=product:5000").outcome)
    end)

    it("writes through SQLite", function()
        local t = server:ask("set?key=product:8&title=changed")
        assert.is_nil(t.message)
        assert.is_string(t.version)
        assert.equal("changed", server:ask("get?key=product:8").value.title)
    end)

    local function storm(first, more, n_loads)
        local one = server:ask("one?id=" .. first + 90)
        local t = server:ask(("storm?n=50&first=%d%s"):format(first, more))
        local what = "50 misses%s: a job %.1f ms, %d loads in %.0f ms, %d ticks meanwhile, the latest %.1f ms late"
        local text = what:format(more, one.took * 1000, t.loads, t.took * 1000, t.ticks, t.worst * 1000)
        print("# " .. text)
        assert.equal(50, t.right)
        assert.equal(n_loads, t.loads)
        -- The timer went on: had one job been done in the worker, no tick could have come while it ran.
        assert.is_true(t.ticks >= n_loads * 2, text)
        return t
    end

    local function prompt(first, more, n_loads)
        local rounds = {}
        for i = 1, prove and 5 or 1 do
            if prove then
                local idle = server:ask("idle")
                print(("# idle: %d ticks, the latest %.1f ms late"):format(idle.ticks, idle.worst * 1000))
            end
            local t = storm(first, more, n_loads)
            rounds[i] = t.worst * 1000
            if not prove or t.worst <= 0.010 then
                return t
            end
            server:ask("forget")
        end
        error("late by more than 10 ms in each round: " .. table.concat(rounds, ", "))
    end

    it("does not block the worker by 50 concurrent misses of different keys", function()
        assert.equal(50, prompt(100, "", 50).outcomes.loaded)
    end)

    it("loads once for 50 concurrent misses of one key", function()
        local t = prompt(200, "&same=1", 1)
        assert.equal(1, t.outcomes.loaded)
        assert.equal(49, t.outcomes.joined)
    end)

    it("does not block it where the load also asks Lua for the ttl", function()
        prompt(500, "&asking=1", 50)
    end)

    it("serves 50 requests side by side", function()
        local urls = {}
        for i = 1, 50 do
            urls[i] = ("http://n/get?key=slow:%d"):format(700 + i % 10)
        end
        local before = server:ask("stats").loads
        local curl = "curl -s -m 60 --parallel --parallel-immediate --parallel-max 50 --unix-socket %s/http.sock '%s'"
        local text = run(curl:format(server.folder, table.concat(urls, "' '")))
        local _, n = text:gsub('"id":7', "")
        assert.equal(50, n, text)
        assert.equal(10, server:ask("stats").loads - before)
    end)

    it("answers what needs no wait where a phase cannot yield, and names the phase for the rest", function()
        run(server:url("phases"))
        run(server:url("phases"))
        local seen = {}
        for _, t in ipairs(server:ask("kept")) do
            seen[t.phase] = t -- the second round's
        end
        for _, phase in ipairs { "set", "header_filter", "body_filter", "log" } do
            local t = assert(seen[phase], phase)
            assert.equal(2, t.hit)
            assert.equal("l1", t.outcome)
            assert.equal("unsupported", t.code)
            assert.matches("phase " .. phase .. ":", t.message)
            assert.equal(2, t.many)
            assert.equal("unsupported", t.many_code)
            assert.equal("made", t.loaded)
            assert.equal("unsupported", t.refused)
        end
        local t = server:ask("sorted")
        assert.equal(2, t.hit)
        assert.equal("unsupported", t.code)
        assert.matches("cannot yield", t.message)
        assert.equal("loaded", server:ask("get?key=product:900").outcome)
    end)

    it("holds the caller's deadline", function()
        assert.equal("timeout", server:ask("deadline?id=950").code)
        assert.equal("loaded", server:ask("get?key=slow:950").outcome)
    end)

    it("ends a Lua loader's work though its request is gone", function()
        run(server:url("leave"))
        local t = server:ask("left")
        assert.equal("ended", t.value)
        assert.equal("joined", t.outcome)
    end)

    it("keeps what the thread works on when the request is dropped", function()
        for _ = 1, 5 do
            run(server:url("drop"))
            server:ask("collect")
        end
        assert.is_true(until_true(10, function()
            return server:ask("get?key=product:400").value.title == "dropped"
        end))
    end)

    it("runs functions side by side", function()
        local t = server:ask("run")
        assert.same({ "first", "slept", "spawned" }, t.order)
        assert.is_false(t.fine)
        assert.equal("as told", t.e)
    end)

    it("has a socket that only its own user can reach, and no trace of it afterwards", function()
        local t = server:ask("socket")
        assert.matches("^600 %S+\n700\n$", t.modes)
        assert.is_false(t.accepted)
        assert.is_false(t.there)
    end)

    it("leaves no memory behind by waking", function()
        server:ask("many?n=2000")
        local from = server:ask("many?n=2000")
        local t = server:ask("many?n=" .. (prove and 100000 or 5000))
        print(("# a load of one row, the wake-up included: %.0f us; resident memory grew by %d KiB")
            :format(t.each * 1e6, (t.resident - from.resident) / 1024))
        assert.is_true(t.resident - from.resident < 4 * 1024 * 1024)
    end)
end)

local function end_all()
    for _, server in ipairs(started) do
        if not server.ended then
            server:stop("TERM")
        end
    end
    started = {}
end

describe("without a folder for its socket", function()
    after_each(end_all)

    it("looks every millisecond, and says so once", function()
        local server = start(conf, "LARDER_SPEC_COUNT=1000 TMPDIR=/nowhere")
        for i = 1, 3 do
            assert.equal(i, server:ask("get?key=product:" .. i).value.id)
        end
        local t = server:ask("many?n=200")
        print(("# a load of one row by looking every millisecond: %.0f us"):format(t.each * 1e6))
        local code, bad = server:stop()
        assert.equal(0, code)
        assert.matches("for want of a socket", bad)
        assert.is_nil(bad:find("\n", 1, true))
    end)
end)

describe("a host that did jobs in the worker", function()
    after_each(end_all)

    it("would be noticed: the timer stands still", function()
        local server = start(conf, "LARDER_SPEC_COUNT=60000 LARDER_SPEC_BUG=in_line")
        local t = server:ask("storm?n=20&first=100")
        assert.equal(20, t.loads)
        assert.is_true(t.ticks < 20)
    end)
end)

describe("nginx that ends", function()
    after_each(end_all)

    local function busy_server()
        local server = start(conf, "LARDER_SPEC_COUNT=400000")
        server:ask("get?key=product:1")
        for i = 1, 5 do
            os.execute(server:url("get?key=slow:" .. i) .. (" >%s/answer%d &"):format(server.folder, i))
        end
        assert(until_true(10, function()
            return server:ask("stats").misses >= 0 and server:ask("stats").loads >= 2
        end))
        return server
    end

    it("answers all when it is told to quit while loads run", function()
        local server = busy_server()
        server:signal("QUIT")
        assert(until_true(20, function()
            return read(server.folder .. "/code")
        end))
        for i = 1, 5 do
            assert.matches('"id":' .. i, read(server.folder .. "/answer" .. i) or "")
        end
        ended_well(server)
    end)

    it("ends at once and without a fault when it is told to stop while loads run", function()
        ended_well(busy_server(), "TERM")
    end)

    it("answers all when it is reloaded while loads run, and goes on in a new worker", function()
        local server = busy_server()
        local before = server:ask("pid").pid
        server:signal("HUP")
        assert(until_true(20, function()
            return server:ask("pid").pid ~= before
        end))
        assert(until_true(20, function() -- for a moment both workers answer; the old one holds the row
            return server:ask("get?key=product:1").outcome == "loaded"
        end))
        assert(until_true(20, function()
            return (read(server.folder .. "/answer5") or ""):find('"id":5')
        end))
        assert(until_true(20, function()
            return run("kill -0 " .. before) ~= ""
        end), "the old worker stays")
        ended_well(server)
    end)
end)

describe("examples/nginx", function()
    after_each(end_all)

    it("serves a product", function()
        local text = read("examples/nginx/nginx.conf"):gsub("listen 127.0.0.1:8089;", "listen unix:FOLDER/http.sock;")
            :gsub("%$prefix", "ROOT"):gsub("location = /stats", "location = /pid { return 200 '1'; }\n%0")
        text = text:gsub("build/nginx/nginx.pid", "nginx.pid"):gsub("build/nginx/error.log", "error.log")
        local server = start("USER\n" .. text)
        assert.equal("product 7", server:ask("product?id=7").title)
        assert.equal("product 7", server:ask("peek?id=7").title)
        assert.equal("miss", server:ask("peek?id=8").outcome)
        assert.equal(1, server:ask("stats").loads)
        ended_well(server)
    end)
end)
