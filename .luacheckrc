std = "lua54+luajit"
max_line_length = 120
files["spec"] = { std = "+busted" }
files["lua/larder/host/nginx*.lua"] = { std = "+ngx_lua" }
files["spec/host/nginx_app.lua"] = { std = "+ngx_lua" }
files["examples/nginx"] = { std = "+ngx_lua" }
