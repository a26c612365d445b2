-- The health of a RelayDomain, a RelayHost or a FilterPolicy, for Argo CD. It is all in the conditions: the operator says of
-- each object, for one generation of it, whether it is valid, whether what it names exists, and whether the relays enforce it.

-- Why an object is not enforced yet, and only time is needed. Every other reason waits for somebody to do something.
local on_its_way = {
  Pending = true, -- some relays do not have it yet
  NoRelay = true, -- no relay is ready
  RelayUnreachable = true, -- a relay could not be asked
}

local function condition(status, kind)
  for _, found in ipairs(status.conditions or {}) do
    if found.type == kind then
      return found
    end
  end
end

local function health(object)
  local status = object.status
  if status == nil or status.conditions == nil then
    return "Progressing", "the operator has not looked at it yet"
  end
  -- A status about an older generation says nothing about this one.
  local generation = object.metadata.generation
  if generation ~= nil and status.observedGeneration ~= generation then
    return "Progressing", "the operator has not looked at the last change yet"
  end
  local ready, programmed = condition(status, "Ready"), condition(status, "Programmed")
  if ready == nil then
    return "Progressing", "the operator has not decided yet"
  end
  if ready.status == "True" then
    local partly = condition(status, "PartiallyInvalid")
    if partly ~= nil and partly.status == "True" then
      return "Degraded", partly.message
    end
    if object.spec ~= nil and object.spec.suspend == true then
      return "Suspended", "its mail is kept, and nothing is handed to it"
    end
    return "Healthy", ready.message
  end
  if ready.reason == "NotProgrammed" and programmed ~= nil then
    if programmed.reason == "Paused" then
      return "Suspended", programmed.message
    end
    if on_its_way[programmed.reason] then
      return "Progressing", programmed.message
    end
  end
  return "Degraded", ready.message
end

local status, message = health(obj)
return { status = status, message = message }
