"""The networks of spec section 4 as pure functions of plain parameter dictionaries (`layer -> kernel, bias`)."""
