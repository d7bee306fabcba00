-- Asks for a hundred resources in turn, since no client asks for the same one for ever.
local requests, at = {}, 0

function init(arguments)
  for id = 1, 100 do
    requests[id] = wrk.format("GET", arguments[1] .. id)
  end
end

function request()
  at = at % #requests + 1
  return requests[at]
end
