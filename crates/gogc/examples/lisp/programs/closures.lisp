; Closures over variables that change, recursion that is and is not a loop, argument lists.

(define (make-counter)
  (let ((n 0))
    (list (lambda () (set! n (+ n 1)) n) (lambda () n))))
(define counter (make-counter))
((car counter))
((car counter))
(print ((cadr counter)))

; A loop of any length on a stack of any size.
(define (count n) (if (= n 0) 'counted (count (- n 1))))
(print (count 5000))
(define (even-by-odd? n) (if (= n 0) #t (odd-by-even? (- n 1))))
(define (odd-by-even? n) (if (= n 0) #f (even-by-odd? (- n 1))))
(print (even-by-odd? 1001))

; Recursion that is not a loop.
(define (build n) (if (= n 0) '() (cons n (build (- n 1)))))
(print (length (build 600)))

(define (compose . fs)
  (if (null? fs)
      (lambda (x) x)
      (lambda (x) ((car fs) ((apply compose (cdr fs)) x)))))
(print ((compose (lambda (x) (* 2 x)) (lambda (x) (+ x 1)) car) '(20)))
(print (apply + 1 2 '(3 4)) " " (apply max '(3 9)))

; Streams: a pair of a value and a promise, which is a closure that remembers.
(define (delay-by thunk)
  (let ((done #f) (value #f))
    (lambda ()
      (unless done
        (set! value (thunk))
        (set! done #t))
      value)))
(define (numbers-from n) (cons n (delay-by (lambda () (numbers-from (+ n 1))))))
(define (sieve stream)
  (cons (car stream)
        (delay-by (lambda () (sieve (without (car stream) ((cdr stream))))))))
(define (without n stream)
  (if (= 0 (remainder (car stream) n))
      (without n ((cdr stream)))
      (cons (car stream) (delay-by (lambda () (without n ((cdr stream))))))))
(define (take n stream)
  (if (= n 0) '() (cons (car stream) (take (- n 1) ((cdr stream))))))
(print (take 12 (sieve (numbers-from 2))))

(define (tree-insert! tree key)
  (let ((side (if (< key (vector-ref tree 0)) 1 2)))
    (if (vector-ref tree side)
        (tree-insert! (vector-ref tree side) key)
        (vector-set! tree side (vector key #f #f)))))
(define tree (vector 50 #f #f))
(for-each (lambda (n) (tree-insert! tree (modulo (* n 37) 101))) (iota 40))
(define (walk tree visit)
  (when tree
    (walk (vector-ref tree 1) visit)
    (visit (vector-ref tree 0))
    (walk (vector-ref tree 2) visit)))
(define seen '())
(walk tree (lambda (key) (set! seen (cons key seen))))
(print (length seen) " " (apply >= seen))
