"""Time a measured step beside a plain one and beside other tools."""
