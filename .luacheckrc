std = "lua54+luajit"
max_line_length = 120
files["spec"] = { std = "+busted" }
files["lua/larder/host/nginx.lua"] = { std = "+ngx_lua" }
