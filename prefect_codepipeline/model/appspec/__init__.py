"""An AppSpec file of CodeDeploy for EC2 and on-premises hosts."""
