"""What competes and what it is held against: one file a method, transfer methods, floors and ceilings."""
