"""How many trials, images and people a study needs: studies simulated before there is one."""
