; Several interpreters on one heap: work that is divided, a stack that all push to, and a table of
; each one's own.

(define (safe? queen rest)
  (let loop ((rest rest) (distance 1))
    (or (null? rest)
        (and (not (= (car rest) queen))
             (not (= (abs (- (car rest) queen)) distance))
             (loop (cdr rest) (+ distance 1))))))
(define (count-queens n row placed)
  (if (= row n)
      1
      (fold (lambda (count column)
              (if (safe? column placed)
                  (+ count (count-queens n (+ row 1) (cons column placed)))
                  count))
            0
            (iota n))))

; The first queen's column is each thread's own.
(define (parallel-queens n)
  (let ((threads (map (lambda (column)
                        (spawn (lambda () (count-queens n 1 (list column)))))
                      (iota n))))
    (fold + 0 (map join threads))))
(print "6 queens: " (parallel-queens 6))

; Treiber's stack. What is popped and pushed again is a new pair each time, so that nobody is
; fooled by one that comes back.
(define top (box '()))
(define (push! value)
  (let* ((below (unbox top)) (pair (cons value below)))
    (unless (box-cas! top below pair) (push! value))))
(define (pop!)
  (let ((pair (unbox top)))
    (cond ((null? pair) #f)
          ((box-cas! top pair (cdr pair)) (car pair))
          (else (pop!)))))

(define (mover n)
  (lambda ()
    (let loop ((n n) (sum 0))
      (if (= n 0)
          sum
          (begin
            (push! (list n))
            (let ((popped (pop!)))
              (loop (- n 1) (if popped (+ sum (car popped)) sum))))))))
(define movers (map (lambda (_) (spawn (mover 100))) (iota 3)))
(define moved (fold + 0 (map join movers)))
(define left
  (let loop ((sum 0))
    (let ((popped (pop!))) (if popped (loop (+ sum (car popped))) sum))))
(print "pushed and popped: " (+ moved left))

; Lists that live while others die, each checked by its owner.
(define (keeper n)
  (lambda ()
    (let ((table (make-table)))
      (do ((i 0 (+ i 1))) ((= i n))
        (table-set! table (remainder i 7) (cons i (iota (remainder i 5)))))
      (fold + 0 (map (lambda (key) (car (table-ref table key))) (table-keys table))))))
(print "kept: " (map join (map (lambda (n) (spawn (keeper n))) '(70 77 84))))
