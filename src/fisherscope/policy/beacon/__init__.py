"""BeaconPolicy, and the calibration, growth, forecast and region that it steers by."""
