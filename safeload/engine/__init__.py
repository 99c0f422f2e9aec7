"""One pickle stream: census, trace, cost, program. Decides nothing about globals; that is the policy's."""
